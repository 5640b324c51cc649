import { readdir } from 'node:fs/promises'
import { cpus } from 'node:os'
import { type Benchmark, passes, print } from './harness.js'

// node run.ts [--short] [case …]: every file in cases/, or those that are named.
const args = process.argv.slice(2)
const short = args.includes('--short')
const wanted = args.filter((argument) => !argument.startsWith('--'))
const unknown = args.filter((argument) => argument.startsWith('--') && argument !== '--short')
const files = (await readdir(new URL('cases/', import.meta.url))).filter((file) => file.endsWith('.ts')).sort()
const names = files.map((file) => file.slice(0, -3))
const missing = wanted.filter((name) => !names.includes(name))
if (unknown.length > 0 || missing.length > 0) {
  console.error(`unknown: ${[...unknown, ...missing].join(', ')}; cases are ${names.join(', ')}, options --short`)
  process.exit(2)
}

console.log(
  `Node.js ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}${short ? ', short form' : ''}`,
)
let failed = 0
for (const name of wanted.length > 0 ? wanted : names) {
  const { default: benchmark }: { default: Benchmark } = await import(`./cases/${name}.ts`)
  const outcome = await benchmark.run({ short, rounds: 5 })
  print(`${name}: ${benchmark.title}`, outcome, short)
  failed += outcome.ratios.filter((ratio) => !passes(ratio, short)).length
}
if (failed > 0) {
  console.error(`\n${failed} ratio(s) ${short ? 'below 0.7 of the target' : 'missed the target'}`)
  process.exitCode = 1
}
