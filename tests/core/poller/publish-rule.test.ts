import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolvePoint } from '../../../core/modbus/codec/point-codec.js'
import type { PublishMode } from '../../../core/modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading, Quality } from '../../../core/modbus/field.js'
import type { PointDefinition } from '../../../core/modbus/point.js'
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
  definition: Partial<PointDefinition> = {},
) {
  const rule = new PublishRule({ ...place, publish, options })
  rule.pointsAre([resolvePoint({ name: 'p', address: 0, ...definition })])
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
  assert.deepEqual(published('deadband', { deadband: 5 }, far, { type: 'uint64' }), [true, false, true])
})

test('scaled 64-bit values have their distance to the last digit', () => {
  const far = ['12345678901234567.89', '12345678901234568.38', '12345678901234568.39', '12345678901234568.40']
  const definition = { type: 'uint64', scale: 0.01 } as const
  assert.deepEqual(published('deadband', { deadband: 0.5 }, far, definition), [true, false, false, true])
  assert.deepEqual(published('deadband', { deadband: 5 }, [1, '12345678901234567.89'], definition), [true, true])
})

test('a distance is the one people see: 0.1 is not more than 0.1', () => {
  const steps = [20.1, 20.2, 20.3, 20.4]
  assert.deepEqual(published('deadband', { deadband: 0.1 }, steps, { scale: 0.1 }), [true, false, true, false])
})

test('texts and names have no distance, whatever they look like', () => {
  for (const definition of [
    { type: 'string', length: 2 },
    { type: 'raw', length: 2 },
    { enum: { 1001: 1, 1002: 2 } },
  ] as const) {
    assert.deepEqual(published('deadband', { deadband: 5 }, ['1001', '1002'], definition), [true, true])
  }
})

test('a block is due by its deadband when one of its points is, and by its registers where it has none', () => {
  const rule = (points: readonly PointDefinition[]) => {
    const made = new PublishRule({ ...place, publish: 'deadband', options: { deadband: 10 } })
    made.pointsAre(points.map(resolvePoint))
    const at = (high: number, low: number) =>
      made.decide(block(high, low), points.length === 0 ? [] : [point(high * 65_536 + low)], 0).block
    return at
  }
  const energy = rule([{ name: 'p', address: 0, type: 'uint32' }])
  assert.deepEqual([energy(1, 0), energy(5, 0)], [true, true], '65,536 to 327,680')
  assert.deepEqual([energy(4, 65_535), energy(5, 10), energy(5, 11)], [false, false, true], 'one less, ten more')
  const bare = rule([])
  assert.deepEqual([bare(1, 0), bare(5, 0), bare(1, 11)], [true, false, true])
  // The second register has no point.
  const half = new PublishRule({ ...place, publish: 'deadband', options: { deadband: 10 } })
  half.pointsAre([resolvePoint({ name: 'p', address: 0 })])
  const values = [
    [1, 0],
    [1, 10],
    [1, 11],
    [5, 11],
  ]
  assert.deepEqual(
    values.map(([first, second]) => half.decide(block(first!, second!), [point(first!)], 0).block),
    [true, false, true, false],
  )
})

/** The slots of an unchanging value that are published, on a grid that begins at `origin`. */
function slotsPublished(at_least_every_ms: number, intervalMs: number, origin: number): number[] {
  const rule = new PublishRule(
    { ...place, publish: 'change', options: { at_least_every_ms } },
    new TriggerMemory(),
    intervalMs,
  )
  const slots = Array.from({ length: 2_000 }, (_, slot) => slot)
  return slots.filter((slot) => rule.decide(block(1), [point(1)], origin + slot * intervalMs).block)
}

test('at least every so often, on the grid', () => {
  assert.deepEqual(slotsPublished(300, 100, 0).slice(0, 3), [0, 3, 6])
  // 2,000 slots of fractions: a sum that falls short of five intervals by a rounding is still five intervals.
  for (const origin of [9_945.076_7, 1_295.957_9, 6_128.538_2]) {
    const slots = slotsPublished(5_000, 1_000, origin)
    assert.deepEqual(
      slots.filter((slot) => slot % 5 !== 0),
      [],
      `from ${origin}`,
    )
    assert.equal(slots.length, 400)
  }
})

test('at least every so often where that is no multiple of the interval: sooner, never later', () => {
  assert.deepEqual(slotsPublished(250, 100, 0).slice(0, 3), [0, 2, 4])
  assert.deepEqual(slotsPublished(1_500, 1_000, 0).slice(0, 3), [0, 1, 2])
  assert.deepEqual(slotsPublished(50, 100, 0).slice(0, 3), [0, 1, 2])
})

test('what was forgotten is news again', () => {
  const rule = new PublishRule({ ...place, publish: 'change' })
  const isNews = () => rule.decide(block(1, 2), [point(1)], 0)
  assert.deepEqual([isNews().block, isNews().block], [true, false])
  rule.forget()
  const { block: isBlockNews, points } = isNews()
  assert.deepEqual([isBlockNews, points.length], [true, 1])
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
