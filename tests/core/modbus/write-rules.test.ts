import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WriteItem } from '../../../core/modbus/field.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { failure, openField } from './field-harness.js'
import { actor, coil, outcomes, plant, raw } from './write-plant.js'

test('a point that may be repeated is not, sooner than the shortest interval of its device', async () => {
  const points = [{ name: 'setpoint', address: 10, retry: 'safe' }]
  const p = await plant({ points, max_retries: 3, options: { min_interval_ms: 60_000 } })
  p.plant.faults.set(1, { kind: 'silence', times: 1 })
  const error = await failure(p.write({ point: 'setpoint', value: 5 }))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.plant.requests, 1)
  await p.close()
})

test('a raw write obeys the rules of the points it touches', async () => {
  const p = await plant({
    points: [
      { name: 'level', address: 10, min: 0, max: 100 },
      { name: 'serial', address: 11, access: 'r' },
      { name: 'energy', address: 20, type: 'uint32' },
      { name: 'setpoint', address: 30, type: 'int16', scale: 0.1, min: 5, max: 30, step: 0.5 },
      { name: 'state', address: 40, enum: { off: 0, on: 1 } },
      { name: 'gain', address: 60, type: 'float32', min: 0, max: 10, step: 0.1 },
    ],
  })
  const float = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeFloatBE(value)
    return raw(60, bytes.readUInt16BE(0), bytes.readUInt16BE(2))
  }
  for (const [item, code] of [
    [raw(10, 101), 'VALUE_OUT_OF_RANGE'],
    [raw(11, 1), 'READ_ONLY'],
    [raw(10, 1, 1), 'READ_ONLY'],
    [raw(20, 1), 'POINT_TORN'],
    [raw(21, 1), 'POINT_TORN'],
    [raw(30, 301), 'VALUE_OUT_OF_RANGE'],
    [raw(30, 203), 'VALUE_OUT_OF_RANGE'],
    [raw(40, 2), 'VALUE_OUT_OF_RANGE'],
    [float(0.35), 'VALUE_OUT_OF_RANGE'],
    [float(10.1), 'VALUE_OUT_OF_RANGE'],
  ] as [WriteItem, string][]) {
    assert.equal((await failure(p.write(item))).code, code, JSON.stringify(item))
  }
  assert.deepEqual(p.wire(), [])
  await p.write(raw(20, 1, 2), raw(30, 205), raw(40, 1), raw(50, 9), raw(10, 100), float(0.3))
  assert.equal(p.wire().length, 6)
  await p.close()
})

test('raw_write: points takes declared registers only, deny none', async () => {
  const points = [{ name: 'level', address: 10 }]
  const some = await plant({ raw_write: 'points', points })
  await some.write(raw(10, 1))
  assert.equal((await failure(some.write(raw(11, 1)))).code, 'WRITE_DISABLED')
  assert.equal((await failure(some.write(raw(10, 1, 2)))).code, 'WRITE_DISABLED')
  await some.close()
  const none = await plant({ raw_write: 'deny', points })
  assert.equal((await failure(none.write(raw(10, 1)))).code, 'WRITE_DISABLED')
  await none.write({ point: 'level', value: 4 })
  assert.deepEqual(none.wire(), [{ type: 'holding', address: 10, values: [4] }])
  await none.close()
})

test('raw_write: points writes no bit of a register that no point names', async () => {
  const low = { name: 'low', address: 10, type: 'bit', bit: 0, width: 8 } as const
  const some = await plant({ raw_write: 'points', points: [low, { name: 'flag', address: 10, type: 'bit', bit: 9 }] })
  assert.equal((await failure(some.write(raw(10, 0xffff)))).code, 'WRITE_DISABLED')
  assert.deepEqual(some.wire(), [])
  await some.close()
  const whole = await plant({ raw_write: 'points', points: [low, { ...low, name: 'high', bit: 8 }] })
  await whole.write(raw(10, 0x1234))
  assert.deepEqual(whole.wire(), [{ type: 'holding', address: 10, values: [0x1234] }])
  await whole.close()
})

test('a register with a shortest interval refuses to be written sooner', async () => {
  const p = await plant({ options: { min_interval_ms: 60_000 } })
  await p.write(raw(10, 1))
  const error = await failure(p.write(raw(10, 2)))
  assert.equal(error.code, 'THROTTLED')
  assert.ok((error.details.retry_after_ms as number) > 59_000)
  assert.deepEqual(
    p.audit.map(({ refused, error: why }) => [refused, why?.code]),
    [
      [false, undefined],
      [true, 'THROTTLED'],
    ],
  )
  await p.write(raw(11, 2))
  assert.equal(p.wire().length, 2)
  await p.close()
})

test('a function of its own may write anything: no sooner after any write than the interval, nor any write after it', async () => {
  const functions = { 65: () => Buffer.alloc(0) }
  const clock = new FakeClock()
  const own: WriteItem = { function: 65 }
  const p = await plant({ options: { min_interval_ms: 1_000 } }, { functions }, { clock })
  const refused = async (item: WriteItem, waitMs: number) => {
    const error = await failure(p.write(item))
    assert.deepEqual([error.code, error.details.retry_after_ms], ['THROTTLED', waitMs])
    assert.deepEqual(outcomes(error.details.results), ['not_sent'])
  }
  await p.write(raw(10, 1))
  await refused(own, 1_000)
  await clock.advance(400)
  await refused(own, 600)
  await clock.advance(600)
  await p.write(own)
  await clock.advance(999)
  await refused(own, 1)
  await refused(raw(10, 2), 1)
  await refused(coil(0, true), 1)
  await clock.advance(1)
  await p.write(raw(10, 2))
  await p.write(raw(11, 2))
  assert.equal(p.plant.requests, 4)
  await p.close()
})

test('the interval of a record holds from the first write on, whoever writes its unit', async () => {
  const p = await plant({ options: { min_interval_ms: 60_000 } })
  p.field.apply([...p.records, p.record('other', { slave_id: 1 })])
  await p.field.request({ op: 'write', device_id: 'other', items: [raw(10, 1)], actor })
  assert.equal((await failure(p.write(raw(10, 2)))).code, 'THROTTLED')
  await p.close()
})

test('the interval of a record holds whoever else writes its unit', async () => {
  const p = await plant({ options: { min_interval_ms: 60_000 } })
  p.field.apply([...p.records, p.record('other', { slave_id: 1 })])
  await p.write(raw(9, 1))
  await p.field.request({ op: 'write', device_id: 'other', items: [raw(10, 1)], actor })
  assert.equal((await failure(p.write(raw(10, 2)))).code, 'THROTTLED')
  await p.close()
})

test('what was written to everybody was written to each unit: the interval begins with it', async () => {
  const p = await openField(
    { port: 0, kind: 'rtu_tcp', units: { 1: { holding: {} } } },
    { unit1: { framer: 'RTU', options: { min_interval_ms: 60_000 } } },
  )
  p.field.apply([...p.records, p.record('all', { framer: 'RTU', unit_id: 0 })])
  const write = (device_id: string, address: number) =>
    p.field.request({ op: 'write', device_id, items: [raw(address, 1)], actor })
  assert.equal((await failure(write('all', 10))).code, 'WRITE_OUTCOME_UNKNOWN', 'confirmed by nobody')
  assert.equal((await failure(write('unit1', 10))).code, 'THROTTLED')
  await write('unit1', 11)
  await p.close()
})
