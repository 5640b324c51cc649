import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TargetRecord } from '../../../core/modbus/device-record.js'
import type { BlockReading, ReadBlock } from '../../../core/modbus/field.js'
import type { PollPort, PollRead } from '../../../core/modbus/field-polling.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { PollGroup } from '../../../core/poller/poll-group.js'
import { RouteMQError } from '../../../core/support/errors.js'

const signal = new AbortController().signal

function target(id: number, address: number, count = 1): TargetRecord {
  return normalizeTarget({ device_id: 'unit1', address, count }, id)
}

/** Each register holds its own address. */
function answer({ device_id, register_type, address, count }: ReadBlock): BlockReading {
  const values = Array.from({ length: count }, (_, at) => address + at)
  return { device_id, register_type, address, count, values, source: 'live', timestamp: 1, quality: 'good' }
}

function groupOver(poll: (read: PollRead) => Promise<BlockReading>, plan: PollPort['plan']): PollGroup {
  const field = { poll, plan, planVersion: () => 0, points: () => [] } as unknown as PollPort
  return new PollGroup({ deviceId: 'unit1', intervalMs: 100, topicPrefix: 'data', field, now: () => 0 })
}

test('targets that change while they are read: no value goes under the topic of another, nothing of one that is gone', async () => {
  let release = () => {}
  const onWire = new Promise<void>((resolve) => {
    release = resolve
  })
  const group = groupOver(
    async ({ block }) => {
      await onWire
      return answer(block)
    },
    (_, wanted) => wanted.map((block, index) => ({ ...block, wanted: [index] })),
  )
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
