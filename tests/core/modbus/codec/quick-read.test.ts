import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodePoint, resolvePoint, toJsonValue } from '../../../../core/modbus/codec/point-codec.js'
import { quickReader } from '../../../../core/modbus/codec/quick-read.js'
import type { ByteOrder, PointDefinition, PointType } from '../../../../core/modbus/point.js'
import { PointReader } from '../../../../core/modbus/points.js'

const ORDERS: readonly ByteOrder[] = ['ABCD', 'CDAB', 'BADC', 'DCBA']
const word = fc.oneof(
  fc.integer({ min: 0, max: 0xffff }),
  // Extremes, and the beginnings of NaN, infinity and -0.
  fc.constantFrom(0, 1, 0x7fff, 0x8000, 0xffff, 0x7fc0, 0x7f80, 0xff80, 0x7ff0, 0xfff8, 0x001f, 0x0020, 0xffe0),
)

/** Every shape of definition that a type can have; what the quick reader does not do it must leave alone. */
function shapes(type: PointType): Partial<PointDefinition>[] {
  switch (type) {
    case 'bit':
      return [
        { bit: 3 },
        { bit: 0, width: 4 },
        { bit: 8, width: 8, scale: 0.5 },
        { bit: 2, width: 2, enum: { off: 0, on: 1 } },
      ]
    case 'bool':
      return [{}]
    case 'string':
    case 'raw':
      return [{ length: 4 }]
    case 'bcd':
      return [{ length: 2 }]
    case 'float32':
    case 'float64':
      return [{}, { scale: 0.1, offset: -3 }, { min: -10, max: 10 }, { invalid: [0] }]
    default:
      return [
        {},
        { scale: 0.1 },
        { scale: 0.001, offset: -40 },
        { min: 1, max: 1_000 },
        { invalid: [32_768, 0] },
        { enum: { low: 0, high: 1 } },
        { enum: { low: 0, high: 1 }, max: 0 },
      ]
  }
}

const TYPES: readonly PointType[] = [
  'uint16',
  'int16',
  'uint32',
  'int32',
  'uint64',
  'int64',
  'float32',
  'float64',
  'bool',
  'bit',
  'string',
  'bcd',
  'raw',
]

for (const type of TYPES) {
  test(`${type}: read quickly, a value is the one the codec finds, in every order and shape`, () => {
    let quick = 0
    for (const order of ORDERS) {
      for (const shape of shapes(type)) {
        const point = resolvePoint({ name: 'p', address: 0, type, order, ...shape })
        const read = quickReader(point)
        const words = fc.array(word, { minLength: point.words + 2, maxLength: point.words + 2 })
        fc.assert(
          fc.property(words, (values) => {
            const found = read(values, 1)
            if (found === undefined) return
            quick += 1
            const { value, quality } = decodePoint(point, values.slice(1, 1 + point.words))
            assert.equal(quality, 'good')
            const wanted = toJsonValue(value)
            assert.ok(Object.is(found, wanted), `${order} ${values}: ${found} instead of ${wanted}`)
          }),
          { numRuns: 300 },
        )
      }
    }
    if (type === 'string' || type === 'raw' || type === 'bcd') assert.equal(quick, 0, 'the codec reads these')
    else assert.ok(quick > 20, `only ${quick} were read quickly`)
  })
}

test('a coil is read quickly', () => {
  const read = quickReader(resolvePoint({ name: 'p', address: 0, register_type: 'coil' }))
  assert.equal(read([false, true], 1), true)
  assert.equal(read([false, true], 0), false)
})

test('points that mean the same share a reader, and no others', () => {
  const base = { name: 'p', address: 0, type: 'int16', scale: 0.1 } as const
  const read = quickReader(resolvePoint(base))
  assert.equal(quickReader(resolvePoint({ ...base, name: 'q', address: 9, unit: 'V' })), read)
  const others: Partial<PointDefinition>[] = [
    { type: 'uint16' },
    { order: 'BADC' },
    { scale: 0.2 },
    { offset: 1 },
    { min: 0 },
    { max: 9 },
    { invalid: [1] },
    { scale: 1, enum: { off: 0 } },
    { scale: 1, enum: { off: 1 } },
  ]
  const found = others.map((other) => quickReader(resolvePoint({ ...base, ...other })))
  assert.ok(!found.includes(read))
  assert.notEqual(found.at(-1), found.at(-2))
  assert.deepEqual([read([235], 0), found[2]!([235], 0), found[3]!([235], 0)], [23.5, 47, 24.5])
})

test('a block that does not hold the whole point is no reading of it', () => {
  const reader = new PointReader(resolvePoint({ name: 'p', address: 10, type: 'uint32' }))
  const block = { device_id: 'd', register_type: 'holding', source: 'live', timestamp: 1, quality: 'good' } as const
  assert.equal(reader.read({ ...block, address: 9, count: 3, values: [0, 1, 2] }).value, 0x10002)
  for (const address of [9, 11]) {
    assert.throws(() => reader.read({ ...block, address, count: 2, values: [1, 2] }), RangeError)
  }
})
