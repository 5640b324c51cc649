import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { plainDevice, plainRead } from '../../../core/http/plain-read.js'
import { readQuery } from '../../../core/http/routes/devices.js'
import { deviceIdSchema } from '../../../core/modbus/device-schema.js'

/** Mostly plain, so that a good part of all queries is. */
function mostly<T>(plain: fc.Arbitrary<T>, ...others: fc.Arbitrary<unknown>[]) {
  return fc.oneof({ weight: 4 * others.length, arbitrary: plain }, ...others)
}
const number = mostly(
  fc.integer({ min: 0, max: 2_000 }).map(String),
  fc.integer({ min: -3, max: 70_000 }).map(String),
  fc.constantFrom('', '00', '0x1', '1e1', '1.0', ' 1', '+1', '65535', '65536', '2000', '2001', '٣'),
  fc.string({ maxLength: 6 }),
  fc.array(fc.constant('1'), { maxLength: 2 }),
)
const query = fc.record(
  {
    address: number,
    count: number,
    register_type: mostly(fc.constantFrom('holding', 'input', 'coil', 'discrete'), fc.string({ maxLength: 8 })),
    source: mostly(fc.constantFrom('live', 'cache'), fc.string({ maxLength: 5 })),
    allow_stale: mostly(fc.constantFrom('true', 'false'), fc.string({ maxLength: 5 })),
    other: fc.string(),
  },
  { requiredKeys: [] },
)

test('a read that is taken as plain is what the schema makes of it', () => {
  let plain = 0
  fc.assert(
    fc.property(query, (given) => {
      const quick = plainRead(given)
      if (quick === undefined) return
      plain += 1
      assert.deepEqual(quick, readQuery.parse(given))
    }),
    { numRuns: 5_000 },
  )
  assert.ok(plain > 500, `${plain} of 5,000`)
  assert.deepEqual(plainRead({ address: '7' }), readQuery.parse({ address: '7' }))
  const all = { address: '0', count: '10', register_type: 'coil', source: 'cache', allow_stale: 'true' }
  assert.deepEqual(plainRead(all), readQuery.parse(all))
})

test('a device id that is taken as plain is one that the schema takes', () => {
  for (const id of ['meter-1', 'a'.repeat(50), '7', 'Active', 'reload2', '__proto__', 'constructor']) {
    assert.deepEqual(plainDevice({ device_id: id }), { device_id: deviceIdSchema.parse(id) })
  }
  for (const id of [
    'active',
    'gateways',
    'reload',
    '',
    'a'.repeat(51),
    'a/b',
    'a b',
    '..',
    'ä',
    'a\n',
    undefined,
    ['a'],
  ]) {
    assert.equal(plainDevice({ device_id: id }), undefined, String(id))
  }
})
