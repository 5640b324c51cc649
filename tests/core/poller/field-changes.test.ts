import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { BlockReading, ReadBlock } from '../../../core/modbus/field.js'
import type { PollPort } from '../../../core/modbus/field-polling.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { type FieldChange, FieldChanges } from '../../../core/poller/field-changes.js'
import { Poller } from '../../../core/poller/poller.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { Recorder } from './poller-harness.js'

const devices = [normalizeDevice({ device_id: 'unit1', host: 'h', port: 502 })]
const watching = (extra: Record<string, unknown> = {}, id = 7) =>
  normalizeTarget({ device_id: 'unit1', address: 10, options: { events: [{ address: 10 }] }, ...extra }, id)

function reading({ device_id, register_type, address, count }: ReadBlock, value: number): BlockReading {
  const values = Array.from({ length: count }, () => value)
  return { device_id, register_type, address, count, values, source: 'live', timestamp: 1, quality: 'good' }
}

/** A poller over a device whose registers all hold `value`, and a clock that the test moves. */
function plant() {
  const clock = new FakeClock()
  const device = { value: 1, answers: async () => {} }
  const field: Partial<PollPort> = {
    async poll({ block }) {
      const { value } = device
      await device.answers()
      return reading(block, value)
    },
    plan: (_, wanted) => wanted.map((block, index) => ({ ...block, wanted: [index] })),
    planVersion: () => 0,
    points: () => [],
    busOf: () => 'line',
    stateOf: () => ({ name: 'online' }),
    subscribe: () => () => {},
  }
  const changes: unknown[] = []
  const publisher = new Recorder()
  const poller = new Poller({
    field: field as PollPort,
    publisher,
    onChange: ({ field: of, from, to }: FieldChange) => changes.push([of, from, to]),
    config: { enabled: true, intervalMs: 1_000, cacheTtlMs: 0 },
    topicPrefix: 'data',
    logger: silentLogger,
    clock,
  })
  const apply = (extra: Record<string, unknown> = {}) => poller.apply([watching(extra)], devices)
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) await clock.advance(1_000)
  }
  return { poller, publisher, device, changes, apply, pass }
}

test('a change is told although its target was edited before it was read', async () => {
  const { poller, publisher, device, changes, apply, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  assert.deepEqual(changes, [], 'the first value seen is none')
  apply({ interval_ms: 500 })
  device.value = 2
  await pass(2)
  apply({ interval_ms: 500, options: { events: [{ address: 10 }], retain: true } })
  device.value = 3
  await pass(2)
  assert.deepEqual(changes, [
    ['holding-10', 1, 2],
    ['holding-10', 2, 3],
  ])
  assert.equal(publisher.on('data/unit1/events/holding-10').length, 2)
  await poller.stop()
})

test('a change that is read while its target moves to another interval is told by the group that reads it next', async () => {
  const { poller, device, changes, apply, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  let answer = () => {}
  device.value = 2
  device.answers = () => new Promise((resolve) => (answer = resolve))
  await pass(2)
  apply({ interval_ms: 500 })
  answer()
  device.answers = async () => {}
  await pass(3)
  assert.deepEqual(changes, [['holding-10', 1, 2]])
  await poller.stop()
})

test('a field that is watched no more, of a target that is gone, or of another device begins anew', () => {
  const changes = new FieldChanges()
  const see = (target: ReturnType<typeof watching>, value: number) =>
    changes.check(target, reading(target, value), []).map(({ from, to }) => [from, to])
  see(watching(), 1)
  changes.keep([watching({ options: {} })])
  assert.deepEqual(see(watching(), 2), [])
  changes.keep([])
  assert.deepEqual(see(watching(), 3), [])
  changes.keep([watching()])
  assert.deepEqual(see(watching({ device_id: 'unit2' }), 4), [])
  assert.deepEqual(see(watching(), 4), [[3, 4]])
})

test('what is taken back is told again, unless there is another value by then', () => {
  const changes = new FieldChanges()
  const see = (value: number) => changes.check(watching(), reading(watching(), value), [])
  see(1)
  const untold = see(2)
  changes.undo(untold)
  assert.deepEqual(
    see(2).map(({ from, to }) => [from, to]),
    [[1, 2]],
  )
  const late = see(3)
  see(4)
  changes.undo(late)
  assert.deepEqual(see(4), [])
})
