import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../core/support/clock.js'
import { freePort } from '../support/free-port.js'
import { type DeviceExtra, openField, startDevice } from './field-harness.js'
import { until } from './until.js'

const HOUR = 3_600_000
type Range = readonly [address: number, count: number]

/** A device that has some holding registers, read in slots of a second, and a clock that the test may put forward. */
async function plant(has: readonly [number, number][], ranges: readonly Range[], extra: DeviceExtra = {}) {
  let ahead = 0
  const clock = { ...systemClock, monotonic: () => performance.now() + ahead }
  // Time-outs of a second: a busy machine must not make the device look silent.
  const options = { timeout_ms: 5_000, poll_timeout_ms: 5_000, ...extra }
  const opened = await openField(
    { port: await freePort(), units: { 1: { ranges: { holding: has } } } },
    { unit1: options },
    { clock },
  )
  const { polling } = opened.field
  const wanted = ranges.map(
    ([address, count]) => ({ device_id: 'unit1', register_type: 'holding', address, count }) as const,
  )
  const plan = () => polling.plan('unit1', wanted, 10_000)
  const reads = () => plan().map(({ address, count }) => [address, count])
  /** Polls everything once; which ranges were answered. */
  const slot = async () => {
    const outcomes = await Promise.allSettled(
      plan().map((block) => polling.poll({ block, wanted, dueAt: clock.monotonic(), intervalMs: 10_000 })),
    )
    return outcomes.map(({ status }) => status === 'fulfilled')
  }
  const slotsUntil = async (done: () => boolean) => {
    for (const end = performance.now() + 30_000; !done(); ) {
      assert.ok(performance.now() < end, JSON.stringify(reads()))
      await slot()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  return { ...opened, polling, reads, slot, slotsUntil, later: (ms: number) => (ahead += ms) }
}

const forty = Array.from({ length: 40 }, (_, at) => [at * 2, 2] as const)

test('one wrong range of forty ends up by itself, and the others in one request', async () => {
  // The last of them, 78 and 79, does not exist, and two want it.
  const p = await plant([[0, 77]], [...forty, [78, 2]])
  const before = p.polling.planVersion('unit1')
  assert.deepEqual([await p.slot(), await p.slot(), p.reads()], [[false], [false], [[0, 80]]])
  await p.slotsUntil(() => p.reads().length > 1)
  assert.deepEqual(p.reads(), [
    [0, 78],
    [78, 2],
  ])
  assert.notEqual(p.polling.planVersion('unit1'), before, 'plans are made anew')
  assert.deepEqual(await p.slot(), [true, false])
  await p.close()
})

test('a hole between wanted ranges keeps only those at its sides apart, and each range stays whole', async () => {
  const ranges = [
    [0, 10],
    [12, 10],
    [24, 10],
    [34, 10],
  ] as const
  const p = await plant(
    [
      [0, 22],
      [24, 60],
    ],
    ranges,
  )
  await p.slotsUntil(() => p.reads().length > 1)
  assert.deepEqual(p.reads(), [
    [0, 22],
    [24, 20],
  ])
  assert.deepEqual(await p.slot(), [true, true])
  await p.close()
})

test('a lesson is looked at again each hour by a request of its own, while what is good is read as ever', async () => {
  const p = await plant([[0, 77]], forty)
  await p.slotsUntil(() => p.reads().length > 1)
  p.later(HOUR)
  const before = p.plant.requests
  assert.deepEqual(await p.slot(), [true, false])
  await until(() => p.plant.requests >= before + 3)
  assert.deepEqual(await p.slot(), [true, false])
  assert.equal(p.plant.requests, before + 5, 'two reads a slot, and one look in an hour')
  assert.deepEqual(p.reads(), [
    [0, 78],
    [78, 2],
  ])
  // The same unit with another firmware.
  await p.plant.close()
  const renewed = await startDevice({ port: p.plant.port, units: { 1: {} } })
  await p.slotsUntil(() => renewed.requests > 0)
  assert.equal(p.reads().length, 2)
  p.later(HOUR)
  await p.slotsUntil(() => p.reads().length === 1)
  await p.field.stop(500)
})

test('a device that falls silent ends a search, which begins anew with the next refusals', async () => {
  const p = await plant([[0, 77]], forty, { poll_timeout_ms: 100 })
  let asked = 0
  p.plant.faults.choose(() => {
    asked += 1
    return asked > 3 ? { kind: 'silence' } : undefined
  })
  for (let nth = 0; nth < 6; nth += 1) await p.slot()
  assert.deepEqual(p.reads(), [[0, 80]], 'silence is no refusal')
  p.plant.faults.clear()
  await p.slotsUntil(() => p.reads().length === 2)
  await p.close()
})

test('a device that refuses everything while it starts is read as before once it answers', async () => {
  const p = await plant([[0, 99]], forty)
  assert.deepEqual(p.reads(), [[0, 80]])
  p.plant.faults.set(1, { kind: 'exception', code: 2 })
  await p.slotsUntil(() => p.reads().length === 40)
  p.plant.faults.clear()
  await p.slotsUntil(() => p.reads().length === 1)
  assert.deepEqual(p.reads(), [[0, 80]])
  await p.close()
})
