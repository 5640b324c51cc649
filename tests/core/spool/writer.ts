/** The other process of the spool's tests: `writer.ts DIR hold` or `writer.ts DIR append FIRST`. */

import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'

const [, , dir, mode, first] = process.argv
try {
  const spool = await Spool.open({ dir: dir!, maxBytes: 512 * 1024 * 1024, segmentBytes: 65_536 })
  if (mode === 'hold') {
    process.stdout.write('open\n')
    setInterval(() => {}, 1_000)
  } else {
    let next = Number(first)
    for (;;) {
      const batches = [0, 1, 2].map((part) => [0, 1].map((n) => Buffer.from(String(next + part * 2 + n))))
      await Promise.all(batches.map((batch) => spool.append(batch)))
      next += 6
      process.stdout.write(`${next - 1}\n`)
    }
  }
} catch (error) {
  process.stdout.write(`${error instanceof RouteMQError ? error.code : String(error)}\n`)
}
