import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { type FieldChange, FieldChanges } from '../../../core/poller/field-changes.js'
import { closedGate } from '../support/closed-gate.js'
import { clockedPoller, goodReading } from './clocked-poller.js'

const watching = (extra: Record<string, unknown> = {}, id = 7) =>
  normalizeTarget({ device_id: 'unit1', address: 10, options: { events: [{ address: 10 }] }, ...extra }, id)

/** A poller over a device whose registers all hold `value`. */
function plant() {
  const device = { value: 1, answers: Promise.resolve() }
  const changes: unknown[] = []
  const { apply, ...rest } = clockedPoller(
    async (block) => {
      const { value } = device
      await device.answers
      return goodReading(block, () => value)
    },
    { onChange: ({ field, from, to }: FieldChange) => changes.push([field, from, to]) },
  )
  return { ...rest, device, changes, apply: (extra: Record<string, unknown> = {}) => apply(watching(extra)) }
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
  const answer = closedGate()
  device.value = 2
  device.answers = answer.opened
  await pass(2)
  apply({ interval_ms: 500 })
  answer.open()
  await pass(3)
  assert.deepEqual(changes, [['holding-10', 1, 2]])
  await poller.stop()
})

test('a field that is watched no more, of a target that is gone, or of another device begins anew', () => {
  const changes = new FieldChanges()
  const see = (target: ReturnType<typeof watching>, value: number) =>
    changes
      .check(
        target,
        goodReading(target, () => value),
        [],
      )
      .map(({ from, to }) => [from, to])
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
  const see = (value: number) =>
    changes.check(
      watching(),
      goodReading(watching(), () => value),
      [],
    )
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
