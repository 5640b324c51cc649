import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PublishMode } from '../../../core/modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading, Quality } from '../../../core/modbus/field.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { PublishRule } from '../../../core/poller/publish-rule.js'
import { TriggerMemory } from '../../../core/poller/trigger-memory.js'

const place = normalizeTarget({ device_id: 'd', address: 0, count: 2 }, 1)
const block = (...values: (number | boolean)[]): BlockReading => ({
  device_id: 'd',
  register_type: 'holding',
  address: 0,
  count: values.length,
  values,
  source: 'live',
  timestamp: 0,
  quality: 'good',
})
const point = (value: FieldValue, quality: Quality = 'good', reason?: string): PointReading => ({
  point: 'p',
  value,
  unit: null,
  quality,
  timestamp: 0,
  ...(reason === undefined ? {} : { reason }),
})

/** For each reading whether the point is published. */
function published(
  publish: PublishMode,
  options: Record<string, unknown>,
  readings: readonly (FieldValue | PointReading)[],
) {
  const rule = new PublishRule({ ...place, publish, options })
  return readings.map((reading, i) => {
    const one = typeof reading === 'object' && reading !== null ? reading : point(reading)
    const number = typeof one.value === 'number' ? one.value : 0
    return one.quality === 'bad'
      ? rule.decideBad([one], i * 100).length > 0
      : rule.decide(block(number), [one], i * 100).points.length > 0
  })
}

test('always publishes every reading', () => {
  assert.deepEqual(published('always', {}, [1, 1, 1]), [true, true, true])
})

test('on change publishes the first and what differs', () => {
  assert.deepEqual(published('change', {}, [1, 1, 2, 2, 1]), [true, false, true, false, true])
  assert.deepEqual(published('change', {}, ['a', 'a', 'b']), [true, false, true])
})

test('a deadband compares with the last published value, so a slow drift is not missed', () => {
  assert.deepEqual(published('deadband', { deadband: 5 }, [10, 14, 16, 20, 22]), [true, false, true, false, true])
})

test('64-bit integers as text have their distance too', () => {
  const far = ['9007199254740993', '9007199254740995', '9007199254740999']
  assert.deepEqual(published('deadband', { deadband: 5 }, far), [true, false, true])
})

test('at least every so often, on the grid', () => {
  assert.deepEqual(published('change', { at_least_every_ms: 300 }, [1, 1, 1, 1, 1, 1, 1]), [
    true,
    false,
    false,
    true,
    false,
    false,
    true,
  ])
})

test('a change of quality is always published, in every mode, and a value coming back too', () => {
  const readings = [
    point(1),
    point(null, 'bad', 'DEVICE_TIMEOUT'),
    point(null, 'bad', 'DEVICE_TIMEOUT'),
    point(null, 'bad', 'not_a_number'),
    point(1),
  ]
  for (const [mode, options] of [
    ['change', {}],
    ['deadband', { deadband: 100 }],
  ] as const) {
    assert.deepEqual(published(mode, options, readings), [true, true, false, true, true], mode)
  }
  const uncertain = [point(1), point(1, 'uncertain', 'out_of_range'), point(1, 'uncertain', 'out_of_range')]
  assert.deepEqual(published('change', {}, uncertain), [true, true, false])
})

test('a trigger publishes all when its register has not the value of its last record, and nothing else', async () => {
  const triggers = new TriggerMemory()
  const target = { ...place, publish: 'trigger', options: { trigger: { address: 0 } } } as const
  const rule = new PublishRule(target, triggers)
  const decide = (...values: number[]) => rule.decide(block(...values), [point(values[1]!)], 0)
  assert.deepEqual([decide(1, 5).block, decide(1, 5).fired], [true, 1], 'until its record is made')
  await triggers.begin([{ target, value: 1 }])
  const decisions = [decide(1, 5), decide(1, 6), decide(2, 6)]
  assert.deepEqual(
    decisions.map(({ block: is, points, fired }) => [is, points.length, fired]),
    [
      [false, 0, undefined],
      [false, 0, undefined],
      [true, 1, 2],
    ],
  )
})

test('a block is published by the same rule', () => {
  const rule = new PublishRule({ ...place, publish: 'change', options: {} })
  const values = [
    [1, 2],
    [1, 2],
    [1, 3],
  ]
  assert.deepEqual(
    values.map((one, i) => rule.decide(block(...one), [], i).block),
    [true, false, true],
  )
})
