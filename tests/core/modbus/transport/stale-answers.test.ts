import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openSerialLine, serialUnavailable } from '../serial-line.js'
import { type RunOptions, runAgainstFaults } from './stale-answers.js'

/** Requests on each transport; the long form of the soak sets 100000. */
const requests = Number(process.env.ROUTEMQ_SOAK_REQUESTS ?? 0)
const noSerial = await serialUnavailable()
const MB = 2 ** 20

async function check(name: string, options: Omit<RunOptions, 'seed'>): Promise<void> {
  const tally = await runAgainstFaults({ seed: 20_261, ...options })
  console.log(`${name}: ${JSON.stringify(tally)}`)
  assert.equal(tally.wrong, 0)
  assert.equal(tally.hung, 0)
  assert.equal(tally.right + Object.values(tally.failures).reduce((sum, count) => sum + count, 0), tally.requests)
  // Enough went right and enough went wrong for the count of 0 to mean something.
  assert.ok(tally.right > tally.requests / 3, `only ${tally.right} of ${tally.requests} answers`)
  assert.ok(Object.keys(tally.faults).length === 12, 'not every fault was met')
  assert.ok(tally.growth < 16 * MB, `the heap grew by ${Math.round(tally.growth / MB)} MB`)
}

for (const kind of ['tcp', 'udp'] as const) {
  test(`${kind}: not one stale or foreign value under any fault`, () =>
    check(kind, { requests: requests || 1_600, faultRate: 0.05, device: { kind }, timeoutMs: 40 }))
}

// At once: most of it is waiting for what may be late.
describe('lines whose frames carry no id', { concurrency: true }, () => {
  for (const kind of ['rtu_tcp', 'ascii_tcp'] as const) {
    test(`${kind}: not one stale or foreign value where late bytes come within the grace`, () =>
      check(kind, { requests: requests || 120, faultRate: requests > 0 ? 0.03 : 0.2, device: { kind }, timeoutMs: 30 }))
  }

  for (const kind of ['serial_rtu', 'serial_ascii'] as const) {
    test(`${kind}: the same on a paced line`, { skip: noSerial ?? false }, async () => {
      const line = await openSerialLine(2, 115_200)
      const settings = { kind, baudRate: 115_200, parity: 'none', dataBits: 8, stopBits: 1 } as const
      await check(kind, {
        requests: requests || 90,
        faultRate: requests > 0 ? 0.03 : 0.25,
        device: { line: { ...settings, path: line.paths[1]! } },
        endpoint: { ...settings, path: line.paths[0]! },
        // Each byte goes through three processes.
        timeoutMs: requests > 0 ? 40 : 200,
      }).finally(() => line.close())
    })
  }
})
