import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TargetRecord } from '../../../core/modbus/device-record.js'
import type { BlockReading, ReadBlock } from '../../../core/modbus/field.js'
import type { PollPort, PollRead } from '../../../core/modbus/field-polling.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { PollGroup } from '../../../core/poller/poll-group.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { closedGate } from '../support/closed-gate.js'
import { clockedPoller, goodReading, onePlanATarget } from './clocked-poller.js'

const signal = new AbortController().signal

function target(id: number, address: number, count = 1): TargetRecord {
  return normalizeTarget({ device_id: 'unit1', address, count }, id)
}

/** Each register holds its own address. */
const answer = (block: ReadBlock) => goodReading(block, (address) => address)

function groupOver(
  poll: (read: PollRead) => Promise<BlockReading>,
  plan: PollPort['plan'],
  intervalMs = 100,
  planVersion = () => 0,
): PollGroup {
  const field = { poll, plan, planVersion, points: () => [] } as unknown as PollPort
  return new PollGroup({ deviceId: 'unit1', intervalMs, topicPrefix: 'data', field, now: () => 0 })
}

/** A group whose requests are on the wire until they are released. */
function slowGroup(plan: PollPort['plan']) {
  const wire = closedGate()
  const group = groupOver(async ({ block }) => {
    await wire.opened
    return answer(block)
  }, plan)
  return { group, release: wire.open }
}

test('targets that change while they are read: no value goes under the topic of another, nothing of one that is gone', async () => {
  const { group, release } = slowGroup(onePlanATarget)
  group.update([target(1, 10), target(2, 20), target(3, 30)])
  const cycle = group.cycle(0, 0, signal)
  group.update([target(3, 30), target(2, 20)])
  release()
  const { results, succeeded, failed } = await cycle
  const told = results.flatMap(({ messages }) =>
    messages.map(({ topic, payload }) => [topic, JSON.parse(payload).values]),
  )
  assert.deepEqual(told, [
    ['data/unit1/holding/20', [20]],
    ['data/unit1/holding/30', [30]],
  ])
  assert.deepEqual([succeeded, failed], [2, 0])
})

test('targets that change while they are read: who could not be planned before is not who cannot be now', async () => {
  const { group, release } = slowGroup((id, wanted, intervalMs) => {
    if (wanted.some(({ count }) => count > 5)) throw new RouteMQError('ADDRESS_INVALID', 'too long')
    return onePlanATarget(id, wanted, intervalMs)
  })
  const [first, second, tooLong] = [target(1, 10), target(2, 20), target(3, 30, 9)]
  group.update([first, second, tooLong])
  const cycle = group.cycle(0, 0, signal)
  group.update([second, tooLong])
  group.plan()
  release()
  const { results, succeeded, failed } = await cycle
  assert.deepEqual(
    results.map(({ sample }) => [sample?.target_id, sample?.block.quality, sample?.block.values]),
    [
      [3, 'bad', []],
      [2, 'good', [20]],
    ],
  )
  assert.deepEqual([succeeded, failed], [1, 1])
})

test('a torn target is good only in a slot in which all its parts came', async () => {
  const refusal = new RouteMQError('MODBUS_ILLEGAL_ADDRESS', 'no', { details: { exception: 2 } })
  let refuses = true
  const asked: number[] = []
  const group = groupOver(
    async ({ block }) => {
      asked.push(block.address)
      if (refuses && block.address === 12) throw refusal
      return answer(block)
    },
    (_, [block]) => [
      { ...block!, count: 2, wanted: [0] },
      { ...block!, address: 12, count: 2, wanted: [0] },
    ],
  )
  group.update([target(1, 10, 4)])
  for (let slot = 0; slot < 20; slot += 1) {
    const { results, succeeded, failed } = await group.cycle(slot, slot * 100, signal)
    assert.deepEqual([succeeded, failed], [0, 1], `slot ${slot}`)
    assert.ok(results.every(({ messages }) => messages.length === 0))
  }
  assert.ok(asked.filter((address) => address === 12).length < 10, 'the part that is refused is asked less often')
  refuses = false
  const values: unknown[] = []
  for (let slot = 20; slot < 60; slot += 1) {
    const { results } = await group.cycle(slot, slot * 100, signal)
    values.push(...results.flatMap(({ messages }) => messages.map(({ payload }) => JSON.parse(payload).values)))
  }
  assert.ok(values.length > 0)
  for (const one of values) assert.deepEqual(one, [10, 11, 12, 13])
})

/** The slots in which a read that is always refused is asked, and what brings it back. */
function refusedGroup(intervalMs: number, planVersion?: () => number) {
  const refusal = new RouteMQError('MODBUS_ILLEGAL_ADDRESS', 'no', { details: { exception: 2 } })
  let slot = 0
  const asked: number[] = []
  const group = groupOver(
    async () => {
      asked.push(slot)
      throw refusal
    },
    (_, wanted) => wanted.map((block, index) => ({ ...block, wanted: [index] })),
    intervalMs,
    planVersion,
  )
  group.update([target(1, 10)])
  return {
    group,
    asked,
    async run(slots: number) {
      for (const end = slot + slots; slot < end; slot += 1) await group.cycle(slot, slot * intervalMs, signal)
    },
  }
}

test('a read that is refused is asked ever more rarely, but about each minute at least', async () => {
  const fast = refusedGroup(1_000)
  await fast.run(400)
  const pauses = fast.asked.slice(1).map((at, nth) => at - fast.asked[nth]!)
  assert.deepEqual(pauses.slice(0, 10), [1, 1, 1, 2, 4, 8, 16, 32, 60, 60])
  const veryFast = refusedGroup(10)
  await veryFast.run(400)
  assert.equal(Math.max(...veryFast.asked.slice(1).map((at, nth) => at - veryFast.asked[nth]!)), 64)
  const seldom = refusedGroup(900_000)
  await seldom.run(50)
  assert.equal(seldom.asked.length, 50, 'a quarter of an hour is pause enough')
})

test('a read that is refused stays rare when plans are made anew, and begins anew with other targets', async () => {
  let version = 0
  const { group, asked, run } = refusedGroup(1_000, () => version++)
  await run(100)
  assert.ok(asked.length < 12, `${asked.length} times`)
  group.update([target(1, 10), target(2, 20)])
  const before = asked.length
  await run(1)
  assert.equal(asked.length - before, 2)
})

test('a read that was refused is asked in each slot again once its device is back', async () => {
  const { group, asked, run } = refusedGroup(1_000)
  await run(100)
  const before = asked.length
  group.deviceIsBack()
  await run(4)
  assert.equal(asked.length - before, 4)
})

test('the poller hears of it when the device is back', async () => {
  let asked = 0
  const { poller, listeners, apply, pass } = clockedPoller(async () => {
    asked += 1
    throw new RouteMQError('MODBUS_ILLEGAL_ADDRESS', 'no', { details: { exception: 2 } })
  })
  apply(target(1, 10))
  poller.start()
  await pass(60)
  const before = asked
  assert.ok(before < 15, `${before} times in a minute`)
  for (const tell of listeners) tell({ type: 'device', device_id: 'unit1', state: { name: 'online' }, at: 0 })
  await pass(4)
  assert.equal(asked - before, 4)
  await poller.stop()
  assert.equal(listeners.size, 0)
})
