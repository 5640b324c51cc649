import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WriteItem, WriteResult } from '../../../core/modbus/field.js'
import { failure, openField } from './field-harness.js'
import { actor, coil, outcomes, plant, raw } from './write-plant.js'

test('items run in the caller order, neighbours as one request, each reported', async () => {
  const p = await plant()
  const { results } = await p.write(raw(20, 1), raw(21, 2, 3), raw(10, 9), coil(4, true), coil(5, 0), raw(10, 8))
  assert.deepEqual(outcomes(results), ['ok', 'ok', 'ok', 'ok', 'ok', 'ok'])
  assert.deepEqual(p.wire(), [
    { type: 'holding', address: 20, values: [1, 2, 3] },
    { type: 'holding', address: 10, values: [9] },
    { type: 'coil', address: 4, values: [1, 0] },
    { type: 'holding', address: 10, values: [8] },
  ])
  assert.equal(p.audit.length, 6)
  await p.close()
})

test('single registers and coils go by functions 6 and 5, several by 16 and 15', async () => {
  const p = await plant()
  const functions: number[] = []
  p.plant.faults.choose(({ functionCode }) => {
    functions.push(functionCode)
    return undefined
  })
  await p.write(raw(0, 1), coil(0, true), raw(5, 1, 2), coil(5, true, false))
  assert.deepEqual(functions, [6, 5, 16, 15])
  await p.close()
})

test('devices that know only some of the functions that write are written by those', async () => {
  for (const [options, known] of [
    [{ write_multiple: true }, [15, 16]],
    [{ max_write_registers: 1, max_write_coils: 1 }, [5, 6]],
  ] as const) {
    const p = await plant({ options })
    p.plant.faults.choose(({ functionCode }) =>
      functionCode < 5 || (known as readonly number[]).includes(functionCode)
        ? undefined
        : { kind: 'exception', code: 1 },
    )
    const { results } = await p.write(raw(20, 1), raw(21, 2), raw(30, 3), coil(4, true), coil(5, 0), coil(9, 1))
    assert.deepEqual(outcomes(results), ['ok', 'ok', 'ok', 'ok', 'ok', 'ok'], JSON.stringify(options))
    assert.deepEqual([await p.read(20, 2), await p.read(30)], [[1, 2], [3]])
    await p.close()
  }
  const p = await plant({ options: { max_write_coils: 1 } })
  assert.equal((await failure(p.write(coil(4, true, false)))).code, 'ADDRESS_INVALID')
  await p.close()
})

test('the first item that fails ends the write: what came before is written, what follows is not sent', async () => {
  const p = await plant({}, { ranges: { holding: [[0, 99]] } })
  const error = await failure(p.write(raw(1, 1), raw(200, 2), raw(3, 3)))
  assert.equal(error.code, 'WRITE_PARTIAL')
  assert.deepEqual(outcomes(error.details.results), ['ok', 'rejected', 'not_sent'])
  assert.equal((error.details.results as WriteResult[])[1]!.error!.code, 'MODBUS_ILLEGAL_ADDRESS')
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 1, values: [1] }])
  assert.deepEqual(
    p.audit.map((record) => record.outcome),
    ['ok', 'rejected', 'not_sent'],
  )
  await p.close()
})

test('a write that breaks a rule in any item sends nothing at all', async () => {
  const p = await plant()
  for (const [bad, code] of [
    [raw(2, 65_536), 'VALUE_OUT_OF_RANGE'],
    [raw(2, 1.5), 'VALUE_INVALID'],
    [raw(2), 'ADDRESS_INVALID'],
    [raw(65_535, 1, 2), 'ADDRESS_INVALID'],
    [raw(0, ...Array.from({ length: 124 }, () => 0)), 'ADDRESS_INVALID'],
    [coil(2, 2), 'VALUE_INVALID'],
    [{ point: 'nobody', value: 1 }, 'POINT_UNKNOWN'],
    [{ register_type: 'input', address: 1, values: [1] } as never, 'READ_ONLY'],
  ] as [WriteItem, string][]) {
    const error = await failure(p.write(raw(1, 1), bad, raw(3, 3)))
    assert.equal(error.code, code)
    assert.deepEqual(outcomes(error.details.results), ['not_sent', 'not_sent', 'not_sent'])
    assert.equal((error.details.results as WriteResult[])[1]!.error!.code, code)
  }
  assert.deepEqual(p.wire(), [])
  assert.equal(p.plant.requests, 0)
  assert.equal(p.audit.length, 24)
  await p.close()
})

test('bits are written by mask write, neighbours of one register together', async () => {
  const p = await plant(
    {
      points: [
        { name: 'pump', address: 10, type: 'bit', bit: 3 },
        { name: 'fan', address: 10, type: 'bit', bit: 4 },
      ],
    },
    { holding: { 10: 0b1_0001 } },
  )
  await p.write({ point: 'pump', value: true }, { point: 'fan', value: false })
  assert.deepEqual(await p.read(10), [0b0_1001])
  assert.equal(p.wire().length, 1)
  await p.close()
})

test('masks of one register that go together change what each would alone', async () => {
  const p = await plant()
  // The first names bit 1 in its values and not among its bits: alone it leaves bit 1, which the second clears.
  await p.write({ address: 10, and: 0xfffe, or: 0x0003 }, { address: 10, and: 0xfffd, or: 0xff00 })
  assert.deepEqual(p.wire().length, 1)
  assert.equal(p.plant.get(1, 'holding', 10), 0b101, 'of 7: bit 0 set, bit 1 cleared, the rest as it was')
  await p.close()
})

test('a device without mask write refuses bits; the register is never written around', async () => {
  const p = await plant({ points: [{ name: 'pump', address: 10, type: 'bit', bit: 3 }] })
  p.plant.faults.set(1, { kind: 'exception', code: 1, functions: [22] })
  const error = await failure(p.write({ point: 'pump', value: true }))
  assert.equal(error.code, 'MODBUS_ILLEGAL_FUNCTION')
  assert.match(error.message, /only written by mask write/)
  assert.deepEqual(p.wire(), [])
  await p.close()
})

test('a write drops what it overlaps from the cache, whatever its outcome on the wire', async () => {
  const p = await plant()
  await p.read(10, 4)
  await p.read(30, 2)
  await p.write(raw(12, 99))
  assert.deepEqual(
    p.field.cache.entries().map((entry) => entry.key),
    ['unit1:holding:30:2'],
  )
  assert.deepEqual(await p.read(12, 1, 'cache'), [99])
  p.plant.faults.set(1, { kind: 'silence', functions: [6] })
  await failure(p.write(raw(30, 1)))
  assert.deepEqual(await p.read(30, 1, 'cache'), [1])
  await p.close()
})

test('two records of one unit: what one writes the other does not answer from its cache', async () => {
  const p = await openField({ port: 0, units: { 1: { holding: { 5: 1 } } } }, { unit1: {}, alias1: {} })
  const read = () =>
    p.field.request({
      op: 'read',
      device_id: 'alias1',
      register_type: 'holding',
      address: 5,
      count: 1,
      source: 'cache',
    })
  assert.deepEqual((await read()).values, [1])
  await p.field.request({ op: 'write', device_id: 'unit1', items: [raw(5, 2)], actor })
  assert.deepEqual((await read()).values, [2])
  await p.close()
})

test('64-bit and floating points arrive at the device as they were given', async () => {
  const p = await plant({
    points: [
      { name: 'total', address: 0, type: 'uint64' },
      { name: 'ratio', address: 4, type: 'float32', order: 'CDAB' },
    ],
  })
  await p.write({ point: 'total', value: '9007199254740993' }, { point: 'ratio', value: 1.5 })
  const { points } = await p.field.request({ op: 'read_points', device_id: 'unit1', points: ['total', 'ratio'] })
  assert.deepEqual(
    points.map((point) => point.value),
    ['9007199254740993', 1.5],
  )
  await p.close()
})
