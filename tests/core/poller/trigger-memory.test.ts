import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { PollPort, PollRead } from '../../../core/modbus/field-polling.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { Recorder } from './poller-harness.js'

const devices = [normalizeDevice({ device_id: 'unit1', host: 'h', port: 502 })]

/** A poller over a device whose register 10 names an operation, and a clock that the test moves. */
function plant() {
  const clock = new FakeClock()
  const records: unknown[] = []
  const device = { operation: 100, answers: async () => {} }
  const field: Partial<PollPort> = {
    poll: async ({ block: { device_id, register_type, address, count } }: PollRead) => {
      const values = [device.operation, 0]
      await device.answers()
      return { device_id, register_type, address, count, values, source: 'live', timestamp: 1, quality: 'good' }
    },
    plan: (_, wanted) => wanted.map((block, index) => ({ ...block, wanted: [index] })),
    planVersion: () => 0,
    points: () => [],
    busOf: () => 'line',
    stateOf: () => ({ name: 'online' }),
    subscribe: () => () => {},
  }
  const poller = new Poller({
    field: field as PollPort,
    publisher: new Recorder(),
    sink: {
      async accept(samples) {
        records.push(...samples.map(({ block }) => block.values[0]))
      },
    },
    config: { enabled: true, intervalMs: 1_000, cacheTtlMs: 0 },
    topicPrefix: 'data',
    logger: silentLogger,
    clock,
  })
  const apply = (more: Record<string, unknown> = {}) => {
    const options = { trigger: { address: 10 } }
    const target = { device_id: 'unit1', address: 10, count: 2, publish: 'trigger', options, ...more }
    poller.apply([normalizeTarget(target, 1)], devices)
  }
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) await clock.advance(1_000)
  }
  return { poller, device, records, apply, pass, clock }
}

test('a change of the target that is none of its trigger makes no second record of an operation', async () => {
  const { poller, device, records, apply, pass } = plant()
  apply()
  poller.start()
  await pass(3)
  assert.deepEqual(records, [100])
  apply({ interval_ms: 500 })
  await pass(3)
  apply({ options: { trigger: { address: 10 }, qos: 0 } })
  await pass(3)
  assert.deepEqual(records, [100])
  device.operation = 101
  await pass(3)
  assert.deepEqual(records, [100, 101])
  apply({ options: { trigger: { address: 11 } } })
  await pass(3)
  assert.equal(records.length, 3, 'another trigger begins anew')
  await poller.stop()
})

test('a target that is removed and comes back begins anew', async () => {
  const { poller, records, apply, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  poller.apply([], devices)
  apply()
  await pass(2)
  assert.deepEqual(records, [100, 100])
  await poller.stop()
})

test('a record that is read while its target changes is made by the group that reads it next', async () => {
  const { poller, device, records, apply, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  let answer = () => {}
  device.operation = 101
  device.answers = () => new Promise((resolve) => (answer = resolve))
  await pass(2)
  apply({ interval_ms: 500 })
  answer()
  device.answers = async () => {}
  await pass(3)
  assert.deepEqual(records, [100, 101])
  await poller.stop()
})
