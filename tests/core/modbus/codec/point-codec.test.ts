import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decodePoint, encodePoint, resolvePoint } from '../../../../core/modbus/codec/point-codec.js'
import type { PointDefinition } from '../../../../core/modbus/point.js'
import { RouteMQError } from '../../../../core/support/errors.js'

function point(definition: Partial<PointDefinition>) {
  return resolvePoint({ name: 'p', address: 10, ...definition })
}

/** 0x11223344 and 0x1122334455667788 in every order, as devices lay them out. */
const LAYOUTS = [
  ['uint32', 'ABCD', [0x1122, 0x3344]],
  ['uint32', 'CDAB', [0x3344, 0x1122]],
  ['uint32', 'BADC', [0x2211, 0x4433]],
  ['uint32', 'DCBA', [0x4433, 0x2211]],
  ['uint64', 'ABCD', [0x1122, 0x3344, 0x5566, 0x7788]],
  ['uint64', 'CDAB', [0x7788, 0x5566, 0x3344, 0x1122]],
  ['uint64', 'BADC', [0x2211, 0x4433, 0x6655, 0x8877]],
  ['uint64', 'DCBA', [0x8877, 0x6655, 0x4433, 0x2211]],
] as const

describe('layout', () => {
  for (const [type, order, words] of LAYOUTS) {
    test(`${type} ${order}`, () => {
      const value = type === 'uint32' ? 0x11223344 : 0x1122334455667788n
      assert.equal(decodePoint(point({ type, order }), words).value, value)
      assert.deepEqual(encodePoint(point({ type, order }), value), { words: [...words] })
    })
  }

  test('floats as IEEE 754', () => {
    assert.equal(decodePoint(point({ type: 'float32' }), [0x41ac, 0]).value, 21.5)
    assert.equal(decodePoint(point({ type: 'float64', order: 'CDAB' }), [0, 0, 0x8000, 0x4035]).value, 21.5)
  })

  test('texts end at the first NUL or before trailing blanks, and are padded with NUL', () => {
    const p = point({ type: 'string', length: 3 })
    assert.equal(decodePoint(p, [0x4142, 0x4300, 0x5858]).value, 'ABC')
    assert.equal(decodePoint(p, [0x4142, 0x4320, 0x2020]).value, 'ABC')
    assert.equal(decodePoint(point({ type: 'string', length: 1, order: 'BADC' }), [0x4241]).value, 'AB')
    assert.equal(decodePoint(p, [0xb043, 0, 0]).value, '°C')
    const replaced = 'a\ufffdb'
    assert.deepEqual(encodePoint(p, replaced), { words: [0x61ef, 0xbfbd, 0x6200] })
    assert.equal(decodePoint(p, [0x61ef, 0xbfbd, 0x6200]).value, replaced, 'a character like any other')
    assert.deepEqual(encodePoint(p, 'AB'), { words: [0x4142, 0, 0] })
    assert.throws(() => encodePoint(p, 'ABCDEFG'), { code: 'VALUE_OUT_OF_RANGE' })
  })

  test('bcd', () => {
    assert.equal(decodePoint(point({ type: 'bcd', length: 2 }), [0x1234, 0x5678]).value, 12345678)
    assert.equal(decodePoint(point({ type: 'bcd', scale: 0.1 }), [0x1234]).value, 123.4)
    assert.deepEqual(decodePoint(point({ type: 'bcd' }), [0x12a4]), { value: null, quality: 'bad', reason: 'not_bcd' })
    assert.deepEqual(encodePoint(point({ type: 'bcd' }), 42), { words: [0x42] })
    assert.throws(() => encodePoint(point({ type: 'bcd' }), 10_000), { code: 'VALUE_OUT_OF_RANGE' })
    assert.throws(() => encodePoint(point({ type: 'bcd' }), -1), { code: 'VALUE_OUT_OF_RANGE' })
  })

  test('coils are bits', () => {
    const coil = point({ register_type: 'coil' })
    assert.equal(coil.type, 'bool')
    assert.equal(decodePoint(coil, [true]).value, true)
    assert.deepEqual(encodePoint(coil, false), { bits: [false] })
    assert.deepEqual(encodePoint(coil, 1), { bits: [true] })
    assert.throws(() => encodePoint(coil, 2), { code: 'VALUE_INVALID' })
    assert.throws(() => encodePoint(coil, 'true'), { code: 'VALUE_INVALID' })
  })

  test('a bit is read from its place and written by mask', () => {
    const bit = point({ type: 'bit', bit: 3 })
    assert.equal(decodePoint(bit, [0b1000]).value, true)
    assert.equal(decodePoint(bit, [0b0111]).value, false)
    assert.deepEqual(encodePoint(bit, true), { mask: { and: 0xfff7, or: 8 } })
    const field = point({ type: 'bit', bit: 4, width: 3, enum: { off: 0, eco: 1, full: 7 } })
    assert.equal(decodePoint(field, [0x7f]).value, 'full')
    assert.deepEqual(encodePoint(field, 'eco'), { mask: { and: 0xff8f, or: 0x10 } })
  })

  test('the wrong number of registers is a defect, not a value', () => {
    assert.throws(() => decodePoint(point({ type: 'uint32' }), [1]), RangeError)
  })
})

describe('limits', () => {
  test('a number is rounded to the nearest the point can hold, and refused beyond half a step', () => {
    const p = point({ scale: 0.1 })
    assert.deepEqual(encodePoint(p, 21.44), { words: [214] })
    assert.deepEqual(encodePoint(p, 21.45), { words: [215] })
    assert.deepEqual(encodePoint(p, 6553.54), { words: [0xffff] })
    assert.deepEqual(encodePoint(p, -0.04), { words: [0] })
    assert.throws(() => encodePoint(p, 6553.56), { code: 'VALUE_OUT_OF_RANGE' })
    assert.throws(() => encodePoint(p, -0.06), { code: 'VALUE_OUT_OF_RANGE' })
  })

  test('min and max hold for what was asked and for what would be written, and the error names them', () => {
    const p = point({ type: 'int16', scale: 0.1, min: 5, max: 30 })
    assert.throws(() => encodePoint(p, 30.04), { code: 'VALUE_OUT_OF_RANGE' })
    assert.deepEqual(encodePoint(p, 29.96), { words: [300] })
    assert.throws(
      () => encodePoint(p, 30.06),
      (error: unknown) => {
        assert.ok(error instanceof RouteMQError)
        assert.equal(error.code, 'VALUE_OUT_OF_RANGE')
        assert.deepEqual(error.details, { point: 'p', value: 30.06, min: 5, max: 30 })
        return true
      },
    )
    assert.deepEqual(decodePoint(p, [400]), { value: 40, quality: 'uncertain', reason: 'out_of_range' })
  })

  test('the limits of 64 bits are told exactly', () => {
    const told = (definition: Partial<PointDefinition>, value: unknown) => {
      try {
        return encodePoint(point(definition), value)
      } catch (error) {
        const { message, details } = error as RouteMQError
        return [message, details?.min, details?.max]
      }
    }
    assert.deepEqual(told({ type: 'uint64' }, '18446744073709551616'), [
      'p takes 0 to 18446744073709551615, got "18446744073709551616"',
      0,
      '18446744073709551615',
    ])
    const scaled = told({ type: 'int64', scale: -0.001, min: -5 }, '9223372036854775.809')
    assert.deepEqual(scaled, [
      'p takes -5 to 9223372036854775.808, got "9223372036854775.809"',
      -5,
      '9223372036854775.808',
    ])
    assert.deepEqual(told({ type: 'int64', max: 10 }, 11), [
      'p takes -9223372036854775808 to 10, got 11',
      '-9223372036854775808',
      10,
    ])
    assert.deepEqual(told({ type: 'float32' }, 1e39), [
      'p takes what its type can hold, got 1e+39',
      undefined,
      undefined,
    ])
  })

  test('a float32 at its limit is inside, as near as it comes to what was written', () => {
    for (const limits of [{ max: 0.1 }, { max: 0.3 }, { max: 1.1 }, { max: 16.1 }, { min: -0.1 }, { min: 0.7 }]) {
      const point = resolvePoint({ name: 'p', address: 0, type: 'float32', ...limits })
      const limit = limits.max ?? limits.min!
      const { words } = encodePoint(point, limit) as { words: number[] }
      const read = decodePoint(point, words)
      assert.deepEqual(read, { value: Math.fround(limit), quality: 'good' })
      assert.deepEqual(encodePoint(point, read.value), { words }, 'what was read can be written')
      // The next number that it can hold, away from the other end.
      const beyond = [...words.slice(0, 1), words[1]! + 1]
      assert.equal(decodePoint(point, beyond).quality, 'max' in limits || limit < 0 ? 'uncertain' : 'good')
    }
    const stepped = resolvePoint({ name: 'p', address: 0, type: 'float32', min: 0, max: 0.3, step: 0.1 })
    const { words } = encodePoint(stepped, 0.3) as { words: number[] }
    assert.equal(decodePoint(stepped, words).quality, 'good')
  })

  test('a step counts from min', () => {
    const p = point({ scale: 0.1, min: 5, max: 30, step: 0.5 })
    assert.deepEqual(encodePoint(p, 21.2), { words: [210] })
    assert.deepEqual(encodePoint(p, 21.3), { words: [215] })
    assert.deepEqual(encodePoint(p, 29.9), { words: [300] })
    assert.throws(() => encodePoint(p, 30.2), { code: 'VALUE_OUT_OF_RANGE' })
    assert.throws(() => encodePoint(p, 30.3), { code: 'VALUE_OUT_OF_RANGE' })
    const float = point({ type: 'float32', step: 0.5 })
    assert.deepEqual(encodePoint(float, 21.4), { words: [0x41ac, 0] })
  })

  test('values of the wrong kind are refused with what was wanted', () => {
    for (const value of ['42', null, undefined, {}, [1], true, '']) {
      assert.throws(() => encodePoint(point({}), value), { code: 'VALUE_INVALID' })
    }
    assert.throws(() => encodePoint(point({ type: 'string', length: 2 }), 42), { code: 'VALUE_INVALID' })
    assert.throws(() => encodePoint(point({ type: 'raw', length: 1 }), 'xyz1'), { code: 'VALUE_INVALID' })
    // Half of a character would be written as three bytes of something else.
    assert.throws(() => encodePoint(point({ type: 'string', length: 4 }), 'a\ud800'), { code: 'VALUE_INVALID' })
  })

  test('an invalid raw value means no value, in its signed and its unsigned form', () => {
    const none = { value: null, quality: 'bad', reason: 'invalid_value' }
    assert.deepEqual(decodePoint(point({ invalid: [0xffff] }), [0xffff]), none)
    assert.deepEqual(decodePoint(point({ type: 'int16', invalid: [0x8000] }), [0x8000]), none)
    assert.deepEqual(decodePoint(point({ type: 'int16', invalid: [-32768] }), [0x8000]), none)
    assert.deepEqual(decodePoint(point({ type: 'float32', invalid: [-9999] }), [0xc61c, 0x3c00]), none)
    assert.throws(() => encodePoint(point({ invalid: [0xffff] }), 0xffff), { code: 'VALUE_INVALID' })
    for (const type of ['float32', 'float64'] as const) {
      const scaled = point({ type, scale: 0.5, invalid: [-9999, 0.1] })
      assert.throws(() => encodePoint(scaled, -4999.5), { code: 'VALUE_INVALID' })
      assert.throws(() => encodePoint(scaled, 0.05), { code: 'VALUE_INVALID' })
      assert.equal(decodePoint(scaled, (encodePoint(scaled, -9999) as { words: number[] }).words).value, -9999)
    }
  })

  test('64-bit raw values are told from "no value" exactly', () => {
    const none = { value: null, quality: 'bad', reason: 'invalid_value' }
    const ones = [0xffff, 0xffff, 0xffff, 0xffff]
    const unsigned = point({ type: 'uint64', invalid: ['18446744073709551615'] })
    assert.deepEqual(decodePoint(unsigned, ones), none)
    assert.equal(decodePoint(unsigned, [0xffff, 0xffff, 0xffff, 0xfffe]).value, 2n ** 64n - 2n)
    assert.throws(() => encodePoint(unsigned, '18446744073709551615'), { code: 'VALUE_INVALID' })
    const signed = point({ type: 'int64', invalid: ['-9223372036854775808'] })
    assert.deepEqual(decodePoint(signed, [0x8000, 0, 0, 0]), none)
    assert.deepEqual(decodePoint(point({ type: 'int64', invalid: ['9223372036854775808'] }), [0x8000, 0, 0, 0]), none)
    assert.deepEqual(
      decodePoint(point({ type: 'bcd', length: 4, invalid: ['9999999999999999'] }), [0x9999, 0x9999, 0x9999, 0x9999]),
      none,
    )
    for (const invalid of [[2 ** 64], [2 ** 53], ['1.5'], ['x'], ['']]) {
      assert.throws(
        () => point({ type: 'uint64', invalid }),
        (error: RouteMQError) => error.code === 'POINT_INVALID' && error.details?.field === 'invalid',
      )
    }
    assert.throws(() => point({ type: 'float32', invalid: ['7'] }), { code: 'POINT_INVALID' })
    // The largest float is an integer beyond 2^53, and is what it says.
    assert.deepEqual(decodePoint(point({ type: 'float32', invalid: [3.4028234663852886e38] }), [0x7f7f, 0xffff]), none)
  })

  test('nothing that reads as "no value" can be written', () => {
    const refused: [Partial<PointDefinition>, unknown][] = [
      [{ type: 'int16', invalid: [32_768] }, -32_768],
      [{ type: 'int16', scale: 0.1, invalid: [32_768] }, -3_276.8],
      [{ type: 'int32', invalid: [2 ** 31] }, -(2 ** 31)],
      [{ enum: { off: 0, none: 255 }, invalid: [255] }, 'none'],
      [{ enum: { off: 0, none: 255 }, invalid: [255] }, 255],
      [{ type: 'bool', invalid: [1] }, true],
      [{ type: 'bool', enum: { off: 0, on: 1 }, invalid: [1] }, 'on'],
      [{ type: 'bit', bit: 3, invalid: [0] }, false],
      [{ type: 'bit', bit: 3, width: 2, invalid: [3] }, 3],
      [{ type: 'bcd', invalid: [9_999] }, 9_999],
    ]
    for (const [definition, value] of refused) {
      assert.throws(() => encodePoint(point(definition), value), { code: 'VALUE_INVALID' }, JSON.stringify(definition))
    }
    assert.deepEqual(encodePoint(point({ type: 'int16', invalid: [32_768] }), -32_767), { words: [0x8001] })
    assert.deepEqual(encodePoint(point({ type: 'bit', bit: 3, invalid: [0] }), true), { mask: { and: 0xfff7, or: 8 } })
  })

  test('an enumeration reads and writes names; a number it does not name is uncertain', () => {
    const mode = point({ enum: { off: 0, heat: 1, cool: 2 } })
    assert.equal(decodePoint(mode, [2]).value, 'cool')
    assert.deepEqual(decodePoint(mode, [9]), { value: 9, quality: 'uncertain', reason: 'not_in_enum' })
    assert.deepEqual(encodePoint(mode, 'heat'), { words: [1] })
    assert.deepEqual(encodePoint(mode, 2), { words: [2] })
    assert.throws(() => encodePoint(mode, 'fan'), { code: 'VALUE_INVALID' })
    assert.throws(() => encodePoint(mode, 9), { code: 'VALUE_INVALID' })
    // Names of prototype properties are no names.
    assert.throws(() => encodePoint(mode, 'constructor'), { code: 'VALUE_INVALID' })
  })

  test('an enumeration keeps its limits', () => {
    const mode = point({ enum: { off: 0, heat: 1, test: 9 }, max: 1 })
    assert.deepEqual(encodePoint(mode, 'heat'), { words: [1] })
    assert.throws(() => encodePoint(mode, 'test'), { code: 'VALUE_OUT_OF_RANGE', message: /takes 0 to 1, got "test"/ })
    assert.throws(() => encodePoint(mode, 9), { code: 'VALUE_OUT_OF_RANGE' })
    assert.deepEqual(decodePoint(mode, [9]), { value: 'test', quality: 'uncertain', reason: 'out_of_range' })
  })
})

describe('resolvePoint', () => {
  test('fills in every default', () => {
    assert.deepEqual(point({}), {
      name: 'p',
      register_type: 'holding',
      address: 10,
      type: 'uint16',
      order: 'ABCD',
      words: 1,
      bit: 0,
      width: 1,
      scale: 1,
      offset: 0,
      unscaled: true,
      unit: null,
      min: null,
      max: null,
      step: null,
      access: 'rw',
      invalid: [],
      enum: null,
      retry: 'never',
    })
    assert.equal(point({ register_type: 'input' }).access, 'r')
    assert.deepEqual(point({ unit: null, scale: null, enum: null } as object), point({}))
  })

  const bad: readonly (readonly [string, Record<string, unknown>])[] = [
    ['name', { name: '' }],
    ['name', { name: 'a/b' }],
    ['name', { name: '+' }],
    ['address', { address: 65_536 }],
    ['address', { address: -1 }],
    ['address', { address: 65_535, type: 'uint32' }],
    ['register_type', { register_type: 'register' }],
    ['type', { type: 'float16' }],
    ['type', { register_type: 'coil', type: 'uint16' }],
    ['order', { order: 'ABDC' }],
    ['bit', { type: 'bit' }],
    ['bit', { type: 'bit', bit: 16 }],
    ['bit', { bit: 1 }],
    ['width', { type: 'bit', bit: 10, width: 7 }],
    ['length', { type: 'string' }],
    ['length', { type: 'string', length: 124 }],
    ['length', { type: 'uint32', length: 2 }],
    ['length', { type: 'bcd', length: 5 }],
    ['scale', { scale: 0 }],
    ['scale', { scale: Number.NaN }],
    ['scale', { type: 'string', length: 1, scale: 2 }],
    ['min', { min: 3, max: 2 }],
    ['step', { step: 0 }],
    ['access', { register_type: 'input', access: 'rw' }],
    ['access', { access: 'wr' }],
    ['invalid', { invalid: ['x'] }],
    ['invalid', { invalid: [-1] }],
    ['invalid', { invalid: [65_536] }],
    ['invalid', { type: 'int16', invalid: [-32_769] }],
    ['invalid', { type: 'uint64', invalid: ['18446744073709551616'] }],
    ['invalid', { type: 'bit', bit: 0, width: 2, invalid: [4] }],
    ['invalid', { invalid: [0.5] }],
    ['enum', { enum: {} }],
    ['enum', { enum: { a: 0.5 } }],
    ['enum', { enum: { a: 1, b: 1 } }],
    ['enum', { enum: { a: 1 }, scale: 0.1 }],
    ['retry', { retry: 'always' }],
    ['lenght', { lenght: 2 }],
  ]
  for (const [field, definition] of bad) {
    test(`refuses ${JSON.stringify(definition)} and names ${field}`, () => {
      assert.throws(
        () => point(definition as Partial<PointDefinition>),
        (error: unknown) => {
          assert.ok(error instanceof RouteMQError)
          assert.equal(error.code, 'POINT_INVALID')
          assert.equal(error.details?.field, field)
          return true
        },
      )
    })
  }

  test('reports every mistake at once', () => {
    assert.throws(
      () => point({ address: -1, scale: 0, order: 'X' as 'ABCD' }),
      (error: unknown) => {
        const problems = (error as RouteMQError).details?.problems as { field: string }[]
        assert.deepEqual(
          problems.map(({ field }) => field),
          ['address', 'order', 'scale'],
        )
        return true
      },
    )
  })
})
