import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BlockReading, FieldValue, PointReading } from '../../../core/modbus/field.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { TargetOutput } from '../../../core/poller/target-output.js'
import { TriggerMemory } from '../../../core/poller/trigger-memory.js'

const block: BlockReading = {
  device_id: 'd "1"',
  register_type: 'holding',
  address: 10,
  count: 2,
  values: [1, 65_535],
  source: 'live',
  timestamp: 1_763_736_000.123,
  quality: 'good',
}

function point(value: FieldValue, more: Partial<PointReading> = {}): PointReading {
  return { point: 'p', value, unit: null, quality: 'good', timestamp: block.timestamp, ...more }
}

function output(input: Record<string, unknown> = {}): TargetOutput {
  const { device_id, address, count } = block
  return new TargetOutput(normalizeTarget({ device_id, address, count, ...input }, 7), 'plant')
}

test('every payload is the JSON of its fields, in the order of the contract', () => {
  const values: FieldValue[] = [0, -0.5, 1e21, true, null, 'a "quoted" \u00e4\n', '18446744073709551615']
  for (const value of values) {
    for (const unit of [null, '\u00b0C', '"']) {
      const [, message] = output().good(block, [point(value, { unit })], 0, 0).messages
      const { timestamp } = block
      assert.equal(message!.payload, JSON.stringify({ value, unit, quality: 'good', timestamp }))
    }
  }
  const [bad] = output().bad(
    'DEVICE_TIMEOUT',
    [point(null, { quality: 'bad', reason: 'DEVICE_TIMEOUT' })],
    0,
    0,
    5.5,
  ).messages
  assert.equal(
    bad!.payload,
    '{"value":null,"unit":null,"quality":"bad","reason":"DEVICE_TIMEOUT","timestamp":1763736000.123}',
  )
  const { device_id, register_type, address, count, timestamp } = block
  for (const values of [
    [1, 65_535],
    [true, false],
  ]) {
    const [message] = output().good({ ...block, values }, [], 0, 0).messages
    assert.equal(message!.payload, JSON.stringify({ device_id, register_type, address, count, values, timestamp }))
  }
})

test('the form says what is published, and everything is kept whatever it says', () => {
  const topicsOf = (form?: string) => {
    const { messages, sample } = output(form === undefined ? {} : { options: { form } }).good(block, [point(1)], 3, 0)
    assert.deepEqual([sample?.points.length, sample?.slot, sample?.target_id], [1, 3, 7])
    return messages.map(({ topic }) => topic)
  }
  const [whole, single] = ['plant/d "1"/holding/10', 'plant/d "1"/points/p']
  assert.deepEqual(topicsOf(), [whole, single])
  assert.deepEqual(topicsOf('both'), [whole, single])
  assert.deepEqual(topicsOf('block'), [whole])
  assert.deepEqual(topicsOf('points'), [single])
})

test('what is published always is a value of QoS 0, what changes is of QoS 1, and both are retained where asked', () => {
  const optionsOf = (input: Record<string, unknown>) => output(input).good(block, [], 0, 0).messages[0]!.options
  assert.deepEqual(optionsOf({}), { qos: 0, retain: false, newestOnly: true })
  assert.deepEqual(optionsOf({ options: { retain: true } }), { qos: 0, retain: true, newestOnly: true })
  assert.deepEqual(optionsOf({ publish: 'change', options: { retain: true } }), {
    qos: 1,
    retain: true,
    newestOnly: true,
  })
  // Each record of a trigger counts.
  const trigger = { publish: 'trigger', options: { trigger: { address: 10 } } }
  assert.deepEqual(optionsOf(trigger), { qos: 1, retain: false, newestOnly: false })
  assert.deepEqual(optionsOf({ options: { qos: 1 } }), { qos: 1, retain: false, newestOnly: true })
})

test('what may be left retained is what is published', () => {
  const left = (form?: string) =>
    output({ options: { retain: true, ...(form && { form }) } }).retainedTopics([{ name: 'p' }])
  const [blockTopic, pointTopic] = ['plant/d "1"/holding/10', 'plant/d "1"/points/p']
  assert.deepEqual(left(), [blockTopic, pointTopic])
  assert.deepEqual(left('both'), [blockTopic, pointTopic])
  assert.deepEqual(left('block'), [blockTopic])
  assert.deepEqual(left('points'), [pointTopic], 'an edit from both to points clears the block')
  assert.deepEqual(output().retainedTopics([{ name: 'p' }]), [])
})

test('with always, a failure after good values is told once, and so is each new reason', () => {
  const target = output()
  target.good(block, [point(1)], 0, 0)
  const fail = (reason: string) =>
    target.bad(reason, [point(null, { quality: 'bad', reason })], 1, 10, 6).messages.length
  assert.equal(fail('DEVICE_TIMEOUT'), 1)
  assert.equal(fail('DEVICE_TIMEOUT'), 0)
  assert.equal(fail('DEVICE_UNREACHABLE'), 1)
  assert.equal(target.good(block, [point(1)], 2, 20).messages.length, 2)
  assert.equal(fail('DEVICE_UNREACHABLE'), 1, 'it was good again in between')
})

test('a block without points: a failure is kept once for each new reason, and that it is good again', () => {
  const target = output({ publish: 'change' })
  const good = () => target.good(block, [], 0, 0)
  const fail = (reason: string) => target.bad(reason, [], 1, 10, 6)
  assert.ok(good().sample)
  const { sample, messages } = fail('DEVICE_TIMEOUT')
  const { values, quality, reason, timestamp } = sample!.block
  assert.deepEqual([values, quality, reason, timestamp], [[], 'bad', 'DEVICE_TIMEOUT', 6])
  assert.deepEqual(messages, [], 'a failed read publishes no block')
  assert.equal(fail('DEVICE_TIMEOUT').sample, undefined)
  assert.ok(fail('DEVICE_UNREACHABLE').sample)
  const again = good()
  assert.deepEqual([again.sample?.block.quality, again.sample?.block.reason], ['good', undefined])
  assert.deepEqual(again.messages, [], 'nobody was told otherwise')
  assert.equal(good().sample, undefined)
})

test('a trigger makes no record because its block is good again', async () => {
  const triggers = new TriggerMemory()
  const { device_id, address, count } = block
  const trigger = { publish: 'trigger', options: { trigger: { address: 10 } } }
  const target = new TargetOutput(normalizeTarget({ device_id, address, count, ...trigger }, 7), 'plant', triggers)
  const { sample, fired } = target.good(block, [], 0, 0)
  assert.ok(sample)
  assert.deepEqual([fired?.target.id, fired?.value], [7, 1])
  await triggers.begin([fired!])
  assert.equal(target.bad('DEVICE_TIMEOUT', [], 1, 10, 6).sample?.block.quality, 'bad')
  assert.equal(target.good(block, [], 2, 20).sample, undefined)
})
