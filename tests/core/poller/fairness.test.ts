import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { openPoller, until } from './poller-harness.js'

const IDS = Array.from({ length: 10 }, (_, i) => `unit${i + 1}`)
const UNITS = Object.fromEntries(IDS.map((_, i) => [i + 1, { holding: [i] }]))
const actor = { kind: 'app', name: 'test' } as const

/** Ten units whose answers take `ms` each, polled every `intervalMs`. */
async function line(ms: number, intervalMs: number, extra: Record<string, unknown> = {}) {
  const p = await openPoller(
    { port: 0, units: UNITS },
    Object.fromEntries(IDS.map((id) => [id, extra])),
    IDS.map((device_id) => ({ device_id, address: 0, interval_ms: intervalMs })),
  )
  const silent = new Set<number>()
  /** Whether each request that came was a write. */
  const writes: boolean[] = []
  const units: number[] = []
  const asked = (unit: number) => units.filter((one) => one === unit).length
  p.plant.faults.choose(({ unit, functionCode }) => {
    units.push(unit)
    writes.push(functionCode === 6 || functionCode === 16)
    return silent.has(unit) ? { kind: 'deaf' } : { kind: 'delay', ms }
  })
  return { ...p, silent, writes, asked }
}

for (const [name, extra] of [
  ['a short time-out', { timeout_ms: 200 }],
  ['the defaults of the contract', { timeout_ms: null, timeout: 10, max_retries: 5 }],
] as const) {
  test(`ten devices at 70 % of the bus, one falls silent: the others keep their polls (${name})`, async () => {
    const p = await line(35, 500, extra)
    p.poller.start()
    await until(() => p.samples.length >= 20)
    p.silent.add(3)
    const from = performance.now()
    const [seen, asked] = [p.samples.length, p.asked(3)]
    const others = () =>
      p.samples.slice(seen).filter(({ device_id, block }) => device_id !== 'unit3' && block.quality === 'good').length
    // Nine devices, seven slots each.
    await until(() => others() >= 63)
    const tookMs = performance.now() - from
    const silent = p.asked(3) - asked
    // On its way, two that take it off line, one that starts the count, one ahead of it; then 5 % of the time at 200 ms each.
    const most = 5 + tookMs / (200 / 0.05)
    console.log(`# ${others()} polls of the nine others in ${Math.round(tookMs)} ms, ${silent} of the silent one`)
    assert.ok(silent <= most, `asked ${silent} times, ${most.toFixed(1)} at most`)
    await p.close()
  })
}

test('a write while polls fill the bus waits for at most what is on the wire', async () => {
  const p = await line(20, 200)
  p.poller.start()
  await until(() => p.samples.length >= 10)
  const before: number[] = []
  for (let i = 0; i < 30; i += 1) {
    const seen = p.writes.length
    await p.field.request({
      op: 'write',
      device_id: IDS[i % 10]!,
      items: [{ register_type: 'holding', address: 5, values: [i] }],
      actor,
    })
    before.push(p.writes.indexOf(true, seen) - seen)
    await pause(7)
  }
  // What was on its way to the wire, and a poll that had waited for long. A machine that stands still makes polls late,
  // which go first then: not most of the time.
  const sorted = [...before].sort((a, b) => a - b)
  assert.ok(sorted[20]! <= 2, `requests that went before a write: ${before}`)
  await p.close()
})

test('writes without end on one device: the polls of the others keep half their rate', async () => {
  const p = await line(5, 100)
  p.poller.start()
  await until(() => p.samples.length >= 20)
  let isWriting = true
  const writer = async () => {
    while (isWriting) {
      await p.field.request({
        op: 'write',
        device_id: 'unit1',
        items: [{ register_type: 'holding', address: 5, values: [1] }],
        actor,
      })
    }
  }
  const writers = Array.from({ length: 20 }, writer)
  const [from, seen] = [p.samples.length, p.writes.length]
  await pause(2_000)
  const others = p.samples.slice(from).filter((sample) => sample.device_id !== 'unit1').length
  const carried = p.writes.slice(seen)
  const polls = carried.filter((write) => !write).length
  console.log(`# the nine others kept ${others} of 180 polls; ${polls} of ${carried.length} requests were polls`)
  // Never more than eight writes before a poll that waits, however few requests a busy machine carries.
  assert.ok(polls >= Math.floor(carried.length / 9), `${polls} of ${carried.length}`)
  isWriting = false
  await Promise.all(writers)
  await p.close()
})
