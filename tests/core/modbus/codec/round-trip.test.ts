import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { decodePoint, encodePoint, resolvePoint, toJsonValue } from '../../../../core/modbus/codec/point-codec.js'
import type { ByteOrder, PointDefinition, PointType } from '../../../../core/modbus/point.js'

const ORDERS: readonly ByteOrder[] = ['ABCD', 'CDAB', 'BADC', 'DCBA']

/** Values of each type with its extremes; every one of them must come back as it went in. */
const VALUES: Readonly<Record<Exclude<PointType, 'bit'>, { arbitrary: fc.Arbitrary<unknown>; length?: number }>> = {
  uint16: { arbitrary: fc.integer({ min: 0, max: 0xffff }) },
  int16: { arbitrary: fc.integer({ min: -0x8000, max: 0x7fff }) },
  uint32: { arbitrary: fc.integer({ min: 0, max: 0xffffffff }) },
  int32: { arbitrary: fc.integer({ min: -0x80000000, max: 0x7fffffff }) },
  uint64: { arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  int64: { arbitrary: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
  float32: { arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true }) },
  float64: { arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  bool: { arbitrary: fc.boolean() },
  string: {
    arbitrary: fc
      .string({ unit: 'grapheme', maxLength: 12 })
      .filter((text) => !text.includes('\0') && !text.endsWith(' ') && Buffer.byteLength(text) <= 16),
    length: 8,
  },
  bcd: { arbitrary: fc.integer({ min: 0, max: 99_999_999 }), length: 2 },
  raw: {
    arbitrary: fc.uint8Array({ minLength: 6, maxLength: 6 }).map((b) => Buffer.from(b).toString('hex')),
    length: 3,
  },
}

function point(definition: Partial<PointDefinition>) {
  return resolvePoint({ name: 'p', address: 0, ...definition })
}

function words(encoded: ReturnType<typeof encodePoint>): readonly number[] {
  assert.ok('words' in encoded)
  return encoded.words
}

for (const [type, { arbitrary, length }] of Object.entries(VALUES)) {
  for (const order of ORDERS) {
    test(`${type} ${order}: what is written is read back`, () => {
      const p = point({ type: type as PointType, order, ...(length === undefined ? {} : { length }) })
      fc.assert(
        fc.property(arbitrary, (value) => {
          const decoded = decodePoint(p, words(encodePoint(p, value)))
          assert.equal(decoded.quality, 'good')
          assert.ok(Object.is(decoded.value, value), `${String(value)} came back as ${String(decoded.value)}`)
        }),
        { numRuns: 200 },
      )
    })
  }
}

describe('bit fields', () => {
  test('a mask write changes the field and nothing else', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff }),
        fc.integer({ min: 0, max: 15 }),
        fc.integer({ min: 1, max: 16 }),
        fc.constantFrom(...ORDERS),
        fc.integer({ min: 0, max: 0xffff }),
        (before, bit, wantedWidth, order, noise) => {
          const width = Math.min(wantedWidth, 16 - bit)
          const p = point({ type: 'bit', bit, width, order })
          const value = width === 1 ? (noise & 1) === 1 : noise & (2 ** width - 1)
          const encoded = encodePoint(p, value)
          assert.ok('mask' in encoded)
          const { and, or } = encoded.mask
          const after = (before & and) | (or & ~and & 0xffff)
          assert.equal(decodePoint(p, [after]).value, value)
          assert.equal(after & and, before & and)
        },
      ),
    )
  })
})

describe('scaled integers', () => {
  const scales = [0.1, 0.01, 0.001, 0.5, 0.25, 2, 10, -0.1, 1e-7, 0.29, 1 / 3]
  for (const type of ['uint16', 'int16', 'uint32', 'int32'] as const) {
    test(`${type}: every raw value survives decoding and encoding`, () => {
      const bits = type.endsWith('16') ? 16 : 32
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 2 ** bits - 1 }),
          fc.constantFrom(...scales),
          fc.constantFrom(0, -40, 273.15, 1e6),
          (raw, scale, offset) => {
            const p = point({ type, scale, offset })
            const source = bits === 16 ? [raw] : [raw >>> 16, raw & 0xffff]
            const { value } = decodePoint(p, source)
            assert.deepEqual(words(encodePoint(p, value)), source)
          },
        ),
        { numRuns: 500 },
      )
    })
  }

  test('a value has no more decimals than scale and offset have', () => {
    const p = point({ type: 'int16', scale: 0.01, offset: 0.5 })
    for (let raw = 0; raw < 0x8000; raw += 1) {
      const { value } = decodePoint(p, [raw])
      assert.match(String(value), /^\d+(\.\d{1,2})?$/)
    }
  })

  test('0.29 with a scale of 0.01 is 29, not 28', () => {
    const p = point({ scale: 0.01 })
    assert.deepEqual(encodePoint(p, 0.29), { words: [29] })
    assert.equal(decodePoint(p, [29]).value, 0.29)
    assert.deepEqual(encodePoint(point({ scale: 0.1 }), 0.3), { words: [3] })
    assert.equal(decodePoint(point({ scale: 0.1 }), [3]).value, 0.3)
  })

  test('64-bit values beyond 2^53 are scaled exactly', () => {
    const p = point({ type: 'uint64', scale: 0.001 })
    const raw = 2n ** 63n + 1n
    const encoded = words(encodePoint(p, '9223372036854775.809'))
    assert.equal(
      encoded.reduce((sum, word) => (sum << 16n) | BigInt(word), 0n),
      raw,
    )
    assert.equal(decodePoint(p, encoded).value, '9223372036854775.809')
  })
})

describe('scaled floats', () => {
  test('a scaled float32 keeps every digit that its registers hold, and no more', () => {
    const held = (value: number, scale: number) => {
      const bytes = Buffer.alloc(4)
      bytes.writeFloatBE(value)
      return decodePoint(point({ type: 'float32', scale }), [bytes.readUInt16BE(0), bytes.readUInt16BE(2)]).value
    }
    assert.deepEqual(
      [held(12_345_678, 0.001), held(16_777_215, 0.1), held(230.1, 0.1), held(-9_999_999, 0.01), held(1e30, 1000)],
      [12_345.678, 1_677_721.5, 23.01, -99_999.99, 1e33],
    )
    fc.assert(
      fc.property(
        fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => value !== 0),
        fc.constantFrom(0.1, 0.001, 0.01, 10, 1000, -0.5, 3.6),
        fc.constantFrom(0, -40, 273.15),
        (raw, scale, offset) => {
          const p = point({ type: 'float32', scale, offset: Math.abs(raw) > 1 ? offset : 0 })
          const bytes = Buffer.alloc(4)
          bytes.writeFloatBE(raw)
          const registers = [bytes.readUInt16BE(0), bytes.readUInt16BE(2)]
          const { value } = decodePoint(p, registers)
          assert.deepEqual(
            words(encodePoint(p, value)),
            registers,
            `${raw} * ${scale} + ${p.offset} is ${String(value)}`,
          )
        },
      ),
      { numRuns: 2_000 },
    )
  })

  test('read without the noise of their type, and keep what is written', () => {
    const p = point({ type: 'float32', scale: 0.1 })
    assert.equal(decodePoint(p, words(encodePoint(p, 23.01))).value, 23.01)
    assert.equal(decodePoint(point({ type: 'float32', scale: 1000 }), [0x3f9e, 0x0419]).value, 1234.5)
    fc.assert(
      fc.property(
        fc.integer({ min: -9_999_999, max: 9_999_999 }),
        fc.constantFrom(0.1, 0.001, 10, 1000, -0.5),
        fc.constantFrom('float32' as const, 'float64' as const),
        (digits, scale, type) => {
          const scaled = point({ type, scale })
          const value = digits / 100 + 0
          assert.equal(decodePoint(scaled, words(encodePoint(scaled, value))).value, value)
        },
      ),
    )
  })
})

describe('special values', () => {
  const float32 = (bits: number) => [bits >>> 16, bits & 0xffff]
  const type = 'float32'

  test('NaN and the infinities have no value and say why', () => {
    assert.deepEqual(decodePoint(point({ type }), float32(0x7fc00000)), {
      value: null,
      quality: 'bad',
      reason: 'not_a_number',
    })
    for (const bits of [0x7f800000, 0xff800000]) {
      assert.deepEqual(decodePoint(point({ type }), float32(bits)), { value: null, quality: 'bad', reason: 'infinite' })
    }
  })

  test('both zeros keep their sign', () => {
    assert.ok(Object.is(decodePoint(point({ type }), float32(0x80000000)).value, -0))
    assert.ok(Object.is(decodePoint(point({ type }), float32(0)).value, 0))
    assert.deepEqual(encodePoint(point({ type }), -0), { words: [0x8000, 0] })
  })

  test('no number that JSON cannot carry is written', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      assert.throws(() => encodePoint(point({ type }), value), { code: 'VALUE_INVALID' })
      assert.throws(() => encodePoint(point({}), value), { code: 'VALUE_INVALID' })
    }
    assert.throws(() => encodePoint(point({ type }), 3.5e38), { code: 'VALUE_OUT_OF_RANGE' })
  })

  test('64-bit integers reach JSON as a number while that is exact, else as text', () => {
    assert.equal(toJsonValue(2n ** 53n - 1n), 9007199254740991)
    assert.equal(toJsonValue(2n ** 53n + 1n), '9007199254740993')
    assert.equal(toJsonValue(-(2n ** 63n)), '-9223372036854775808')
    assert.equal(toJsonValue(Number.NaN), null)
    assert.equal(toJsonValue(Number.POSITIVE_INFINITY), null)
    const p = point({ type: 'uint64' })
    assert.deepEqual(encodePoint(p, '18446744073709551615'), { words: [0xffff, 0xffff, 0xffff, 0xffff] })
    assert.throws(() => encodePoint(p, 2 ** 53 + 2), { code: 'VALUE_INVALID' })
  })
})

/** Lowest and highest value of each type of number, and the first beyond them. */
const ENDS = {
  uint16: [0, 0xffff, -1, 0x1_0000],
  int16: [-0x8000, 0x7fff, -0x8001, 0x8000],
  uint32: [0, 0xffff_ffff, -1, 0x1_0000_0000],
  int32: [-0x8000_0000, 0x7fff_ffff, -0x8000_0001, 0x8000_0000],
  uint64: [0n, 2n ** 64n - 1n, -1n, 2n ** 64n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n, -(2n ** 63n) - 1n, 2n ** 63n],
  float32: [-3.4028234663852886e38, 3.4028234663852886e38, -3.41e38, 3.41e38],
  bcd: [0, 9_999, -1, 10_000],
} as const

for (const order of ORDERS) {
  describe(`the ends of each type, ${order}`, () => {
    for (const [type, [lowest, highest, below, above]] of Object.entries(ENDS)) {
      test(`${type}: its ends come back, what lies beyond is refused and never wraps`, () => {
        const p = point({ type: type as PointType, order })
        for (const value of [lowest, highest]) {
          const { value: back, quality } = decodePoint(p, words(encodePoint(p, value)))
          assert.equal(quality, 'good')
          assert.equal(BigInt(back as number), BigInt(value), `${value} came back as ${String(back)}`)
        }
        for (const value of [below, above]) {
          assert.throws(() => encodePoint(p, value), { code: 'VALUE_OUT_OF_RANGE' }, String(value))
        }
      })
    }

    for (const type of ['float32', 'float64'] as const) {
      test(`${type}: NaN, the infinities, both zeros and the smallest number`, () => {
        const p = point({ type, order })
        const bytes = Buffer.alloc(p.words * 2)
        const registersOf = (value: number) => {
          if (type === 'float32') bytes.writeFloatBE(value)
          else bytes.writeDoubleBE(value)
          return words(encodePoint(point({ type: 'raw', length: p.words, order }), bytes.toString('hex')))
        }
        const reasons = [Number.NaN, Infinity, -Infinity].map((value) => decodePoint(p, registersOf(value)).reason)
        assert.deepEqual(reasons, ['not_a_number', 'infinite', 'infinite'])
        for (const value of [0, -0, type === 'float32' ? 2 ** -149 : Number.MIN_VALUE]) {
          const registers = words(encodePoint(p, value))
          assert.deepEqual(registers, registersOf(value))
          assert.ok(Object.is(decodePoint(p, registers).value, value), String(value))
        }
        for (const value of [Number.NaN, Infinity, -Infinity]) {
          assert.throws(() => encodePoint(p, value), { code: 'VALUE_INVALID' })
        }
      })
    }
  })
}

test('a whole number has one zero: -0 is written as 0 and no value is read as -0', () => {
  for (const type of ['uint16', 'int16', 'uint32', 'int32', 'uint64', 'int64', 'bcd'] as const) {
    const p = point({ type })
    assert.ok(
      words(encodePoint(p, -0)).every((word) => word === 0),
      type,
    )
    for (const scale of [1, -0.1]) {
      const { value } = decodePoint(
        point({ type, scale }),
        Array.from({ length: p.words }, () => 0),
      )
      assert.ok(Object.is(Number(value), 0), `${type} by ${scale}`)
    }
  }
})
