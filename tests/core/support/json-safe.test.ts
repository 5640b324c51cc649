import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jsonSafe } from '../../../core/support/json-safe.js'

test('what JSON can carry stays the value it is', () => {
  for (const value of [undefined, null, 'a', 1, true, { a: [1, { b: null }] }, Object.create(null), []]) {
    assert.equal(jsonSafe(value), value)
  }
})

test('what JSON cannot carry becomes a copy that it can', () => {
  const circle: Record<string, unknown> = { name: 'eve', id: 9_007_199_254_740_993n, check: () => true }
  circle.self = circle
  const shared = { a: 1 }
  assert.deepEqual(jsonSafe(circle), { name: 'eve', id: '9007199254740993', self: '[circular]' })
  assert.deepEqual(jsonSafe({ one: shared, two: shared, at: new Date(0), list: [1n, () => 1] }), {
    one: { a: 1 },
    two: { a: 1 },
    at: '1970-01-01T00:00:00.000Z',
    list: ['1', null],
  })
  let deep: unknown = 1n
  for (let n = 0; n < 10_000; n++) deep = { deep }
  assert.match(JSON.stringify(jsonSafe(deep)), /too deep/)
  assert.deepEqual(Object.keys(jsonSafe(JSON.parse('{"__proto__":{"a":1},"b":1}')) as object), ['__proto__', 'b'])
})

test('what cannot be read at all is left out', () => {
  const thrower = {
    n: 1n,
    get name(): string {
      throw new Error('no')
    },
  }
  assert.equal(jsonSafe(thrower), undefined)
})
