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
  p.plant.faults.choose(({ unit, functionCode }) => {
    writes.push(functionCode === 6 || functionCode === 16)
    return silent.has(unit) ? { kind: 'deaf' } : { kind: 'delay', ms }
  })
  return { ...p, silent, writes }
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
    const from = p.samples.length
    await pause(3_500)
    const others = p.samples
      .slice(from)
      .filter((sample) => sample.device_id !== 'unit3' && sample.block.quality === 'good')
    // Nine devices, seven slots each. A bus that waits for its silent unit keeps a quarter; a busy machine loses some too.
    console.log(`# the nine others kept ${others.length} of 63 polls in 3.5 s`)
    assert.ok(others.length >= 40, `${others.length} of 63`)
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
  // What was on its way to the wire, and a poll that had waited for a whole interval.
  assert.ok(Math.max(...before) <= 2, `requests that went before a write: ${before}`)
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
