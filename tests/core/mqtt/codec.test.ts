import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { codecOf, contentTypeOf, decodePayload, encodePayload } from '../../../core/mqtt/codec.js'
import { RouteMQError } from '../../../core/support/errors.js'

function malformed(text: RegExp, position?: number) {
  return (error: unknown) => {
    assert.ok(error instanceof RouteMQError && error.code === 'PAYLOAD_MALFORMED', String(error))
    assert.match(error.message, text)
    if (position !== undefined) assert.equal(error.details?.position, position)
    return true
  }
}

const json = (value: unknown) => encodePayload(value, 'json').toString()

test('JSON: BigInt is a number while that is exact, else a decimal string; NaN and infinities are null', () => {
  assert.equal(json({ a: 42n, b: 2n ** 53n - 1n }), '{"a":42,"b":9007199254740991}')
  assert.equal(
    json([2n ** 53n, -(2n ** 63n), 18446744073709551615n]),
    '["9007199254740992","-9223372036854775808","18446744073709551615"]',
  )
  assert.equal(json({ a: Number.NaN, b: Number.POSITIVE_INFINITY, c: -0 }), '{"a":null,"b":null,"c":0}')
  assert.equal(encodePayload(undefined).length, 0)
})

test('values no codec can say are PAYLOAD_INVALID', () => {
  const circular: Record<string, unknown> = {}
  circular.self = circular
  for (const [value, codec] of [
    [circular, 'json'],
    [{ a: 1 }, 'raw'],
    [{ a: 1 }, 'text'],
    [5, 'raw'],
  ] as const) {
    assert.throws(
      () => encodePayload(value, codec),
      (error: unknown) => error instanceof RouteMQError && error.code === 'PAYLOAD_INVALID',
    )
  }
})

test('broken JSON is refused with the position', () => {
  assert.throws(() => decodePayload(Buffer.from('{"a": 1,}')), malformed(/no valid json.*position 8/, 8))
  assert.throws(() => decodePayload(Buffer.from('{"a": ')), malformed(/position 6/, 6))
  assert.throws(() => decodePayload(Buffer.alloc(0)), malformed(/empty/))
  assert.throws(() => decodePayload(Buffer.from([0xff, 0xfe])), malformed(/no valid json/))
})

test('deep nesting is refused, and costs no stack', () => {
  const deep = (levels: number) => Buffer.from('['.repeat(levels) + ']'.repeat(levels))
  assert.doesNotThrow(() => decodePayload(deep(64)))
  assert.throws(() => decodePayload(deep(65)), malformed(/deeper than 64/))
  assert.throws(() => decodePayload(deep(500_000)), malformed(/deeper than 64|stack/))
  let nested: unknown = 1
  for (let i = 0; i < 100; i += 1) nested = [nested]
  for (const codec of ['msgpack', 'cbor'] as const) {
    assert.throws(() => decodePayload(encodePayload(nested, codec), codec), malformed(/deeper than 64/))
  }
})

test('a payload with a key named __proto__ is refused, however it is spelled and wherever it is', () => {
  for (const text of [
    '{"__proto__": {"admin": true}}',
    '{"a": [{"__proto__": 1, "b": 2}]}',
    '{"\\u005f_proto__": 1}',
  ]) {
    assert.throws(() => decodePayload(Buffer.from(text)), malformed(/__proto__/), text)
  }
  assert.deepEqual(decodePayload(Buffer.from('{"a": "__proto__", "b": "\\u00e4"}')), { a: '__proto__', b: 'ä' })
  assert.equal(({} as Record<string, unknown>).admin, undefined)
})

test('raw gives the bytes, text needs UTF-8, content types choose where the route does not', () => {
  const bytes = Buffer.from([0, 255, 1])
  assert.equal(decodePayload(bytes, 'raw'), bytes)
  assert.equal(decodePayload(Buffer.from('grün'), 'text'), 'grün')
  assert.throws(
    () => decodePayload(Buffer.concat([Buffer.from('ü'), Buffer.from([0xff])]), 'text'),
    malformed(/byte 2/, 2),
  )
  assert.deepEqual(decodePayload(encodePayload({ a: 1 }, 'cbor'), undefined, 'application/cbor'), { a: 1 })
  assert.deepEqual(decodePayload(Buffer.from('{"a":1}'), undefined, 'application/vnd.x+json; charset=utf-8'), { a: 1 })
  assert.equal(decodePayload(Buffer.from('5'), 'text', 'application/json'), '5')
  assert.equal(codecOf('image/png'), undefined)
  for (const codec of ['json', 'text', 'raw', 'msgpack', 'cbor'] as const)
    assert.equal(codecOf(contentTypeOf(codec)), codec)
})

test('MessagePack and CBOR: round trips, and broken bytes are refused with how far it went', () => {
  const value = { a: [1, -2.5, 'x', true, null], b: { c: Buffer.from([1, 2]) }, big: 2n ** 60n }
  for (const codec of ['msgpack', 'cbor'] as const) {
    const bytes = encodePayload(value, codec)
    const back = decodePayload(bytes, codec) as typeof value
    assert.deepEqual(back.a, value.a)
    assert.deepEqual(Buffer.from(back.b.c), value.b.c)
    assert.equal(BigInt(back.big), value.big)
    assert.throws(() => decodePayload(bytes.subarray(0, bytes.length - 3), codec), malformed(/no valid/))
  }
  assert.throws(() => decodePayload(Buffer.from([0x92, 1]), 'msgpack'), malformed(/byte \d+ of 2/))
})

test('any JSON value survives the way there and back', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
      fc.pre(!JSON.stringify(value).includes('__proto__'))
      assert.deepEqual(decodePayload(encodePayload(value)), JSON.parse(JSON.stringify(value)))
    }),
    { numRuns: 300 },
  )
})

test('any bytes in any codec: a value or PAYLOAD_MALFORMED, nothing else', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom('json', 'text', 'raw', 'msgpack', 'cbor'),
      (bytes, codec) => {
        try {
          decodePayload(Buffer.from(bytes), codec as 'json')
        } catch (error) {
          assert.ok(error instanceof RouteMQError && error.code === 'PAYLOAD_MALFORMED', String(error))
        }
      },
    ),
    { numRuns: 3_000 },
  )
})
