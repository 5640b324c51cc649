/** One receiver of the receive case in a process of its own: `receiver.js NAME URL QOS`. */
import { existsSync } from 'node:fs'
import { openBare } from './bare.js'
import type { Received } from './message.js'
import { openNest } from './nest.js'
import { openRouteMQ } from './routemq.js'

const [name, url] = process.argv.slice(2) as [string, string]
const qos = Number(process.argv[4]) as 0 | 1

let count = 0
let expected = Number.POSITIVE_INFINITY
let startedAt = 0
let cpu = process.cpuUsage()

function handled(): void {
  count += 1
  if (count !== expected) return
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - startedAt) / 1_000
  process.send!({ seconds, cpuMicros: user + system } satisfies Received)
}

const open = name.startsWith('routemq') ? openRouteMQ : name === 'nest' ? openNest : openBare
await open(name, url, qos, handled)

/** Reads nothing before the gate opens: what is published until then waits at the broker, and is read at our speed. */
function waitFor(gate: string): void {
  const nap = new Int32Array(new SharedArrayBuffer(4))
  while (!existsSync(gate)) Atomics.wait(nap, 0, 0, 2)
  begin()
}

function begin(): void {
  startedAt = performance.now()
  cpu = process.cpuUsage()
}

process.on('message', (order: { readonly expect: number; readonly gate?: string } | { readonly report: true }) => {
  if ('report' in order) {
    process.send!(count)
    return
  }
  count = 0
  expected = order.expect
  const { gate } = order
  if (gate === undefined) begin()
  process.send!('listening', () => gate === undefined || waitFor(gate))
})
process.once('disconnect', () => process.exit())
process.send!('ready')
