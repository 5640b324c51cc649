import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WriteItem, WriteOutcome, WriteResult } from '../../../core/modbus/field.js'
import type { FieldServiceOptions } from '../../../core/modbus/field-service.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { type DeviceExtra, failure, openField } from './field-harness.js'
import { until } from './until.js'

const actor = { kind: 'cli', name: 'test' } as const
const raw = (address: number, ...values: number[]): WriteItem => ({ register_type: 'holding', address, values })
const coil = (address: number, ...values: (boolean | number)[]): WriteItem => ({
  register_type: 'coil',
  address,
  values,
})
const outcomes = (results: unknown) => (results as WriteResult[]).map((result): WriteOutcome => result.outcome)

async function plant(extra: DeviceExtra = {}, unit = {}, options: Partial<FieldServiceOptions> = {}) {
  const field = await openField({ port: 0, units: { 1: { holding: { 10: 7 }, ...unit } } }, { unit1: extra }, options)
  const write = (...items: WriteItem[]) => field.field.request({ op: 'write', device_id: 'unit1', items, actor })
  const read = async (address: number, count = 1, source: 'live' | 'cache' = 'live') =>
    (await field.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address, count, source }))
      .values
  const wire = () => field.plant.log.map(({ type, address, values }) => ({ type, address, values }))
  return { ...field, write, read, wire }
}

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

test('an answer that does not come makes the outcome unknown, and the write is not repeated', async () => {
  const p = await plant({ max_retries: 5 })
  p.plant.faults.set(1, { kind: 'silence' })
  const error = await failure(p.write(raw(10, 42), raw(20, 1)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown', 'not_sent'])
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [42] }])
  assert.equal(p.audit[0]!.outcome, 'unknown')
  await p.close()
})

test('a connection that breaks after sending makes the outcome unknown', async () => {
  const p = await plant({ max_retries: 5 })
  p.plant.faults.set(1, { kind: 'reset' })
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.wire().length, 1)
  await p.close()
})

test('an answer of another function is nonsense, so the outcome is unknown', async () => {
  const p = await plant()
  p.plant.faults.set(1, { kind: 'wrong_function' })
  assert.equal((await failure(p.write(raw(10, 42)))).code, 'WRITE_OUTCOME_UNKNOWN')
  await p.close()
})

test('a point that may be repeated is sent again after a time-out', async () => {
  const p = await plant({ max_retries: 2, points: [{ name: 'mode', address: 10, retry: 'safe' }] })
  p.plant.faults.set(1, { kind: 'silence', times: 2 })
  const { results } = await p.write({ point: 'mode', value: 3 })
  assert.deepEqual(outcomes(results), ['ok'])
  assert.equal(p.wire().length, 3)
  await p.close()
})

test('a point that may be repeated is not, sooner than the shortest interval of its device', async () => {
  const points = [{ name: 'setpoint', address: 10, retry: 'safe' }]
  const p = await plant({ points, max_retries: 3, options: { min_interval_ms: 60_000 } })
  p.plant.faults.set(1, { kind: 'silence', times: 1 })
  const error = await failure(p.write({ point: 'setpoint', value: 5 }))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.plant.requests, 1)
  await p.close()
})

test('a refused repetition proves nothing about the first copy: still unknown', async () => {
  const p = await plant({ max_retries: 2, points: [{ name: 'mode', address: 10, retry: 'safe' }] })
  let n = 0
  p.plant.faults.choose(() => (n++ === 0 ? { kind: 'silence' } : { kind: 'exception', code: 2 }))
  const error = await failure(p.write({ point: 'mode', value: 3 }))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown'])
  await p.close()
})

test('a device that is off was provably not written', async () => {
  const p = await plant()
  await p.plant.close()
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'DEVICE_UNREACHABLE')
  assert.deepEqual(outcomes(error.details.results), ['not_sent'])
  await p.field.stop(100)
})

test('each exception has its meaning for a write', async () => {
  for (const [exception, code, outcome] of [
    [1, 'MODBUS_ILLEGAL_FUNCTION', 'rejected'],
    [2, 'MODBUS_ILLEGAL_ADDRESS', 'rejected'],
    [3, 'MODBUS_ILLEGAL_VALUE', 'rejected'],
    [4, 'DEVICE_FAILURE', 'rejected'],
    [5, 'MODBUS_ACKNOWLEDGE', 'unknown'],
    [6, 'DEVICE_BUSY', 'rejected'],
    [8, 'DEVICE_FAILURE', 'rejected'],
    [10, 'MODBUS_GATEWAY_PATH', 'rejected'],
    [11, 'WRITE_OUTCOME_UNKNOWN', 'unknown'],
    [99, 'DEVICE_FAILURE', 'rejected'],
  ] as const) {
    const p = await plant()
    p.plant.faults.set(1, { kind: 'exception', code: exception })
    const error = await failure(p.write(raw(10, 42)))
    assert.equal(error.code, code, `exception ${exception}`)
    assert.deepEqual(outcomes(error.details.results), [outcome], `exception ${exception}`)
    await p.close()
  }
})

test('"server busy" is retried until the device takes the write', async () => {
  const p = await plant({ timeout_ms: 2_000 })
  p.plant.faults.set(1, { kind: 'exception', code: 6, times: 2 })
  assert.deepEqual(outcomes((await p.write(raw(10, 42))).results), ['ok'])
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [42] }])
  await p.close()
})

test('an unknown outcome is settled by reading back where the device says so', async () => {
  const p = await plant({ options: { read_back: 'unknown' } })
  p.plant.faults.set(1, { kind: 'silence', functions: [6] })
  const { results } = await p.write(raw(10, 42))
  assert.deepEqual(results, [{ item: raw(10, 42), outcome: 'ok' }], 'settled: nothing of the doubt is left')
  assert.equal(p.audit[0]!.error, null)
  p.plant.faults.set(1, { kind: 'deaf', functions: [6] })
  const error = await failure(p.write(raw(10, 43)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown'])
  assert.match(error.message, /may or may not/)
  await p.close()
})

test('"accepted, in progress" is read back until it shows', async () => {
  const p = await plant({ timeout_ms: 2_000, options: { read_back: 'unknown' } })
  p.plant.faults.set(1, { kind: 'exception', code: 5, functions: [6] })
  setTimeout(() => p.plant.set(1, 'holding', 10, 42), 150)
  assert.deepEqual(outcomes((await p.write(raw(10, 42))).results), ['ok'])
  await p.close()
})

test('a device that confirms and holds something else is not reported as written', async () => {
  const p = await plant({ options: { read_back: 'always' } })
  p.plant.onWrite(() => p.plant.set(1, 'holding', 10, 40))
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.match(error.message, /reading back/)
  await p.close()
})

test('past its deadline a write is not sent', async () => {
  const p = await plant({ timeout_ms: 5_000 })
  const late = await failure(
    p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, 1)], actor, deadline: Date.now() - 1 }),
  )
  assert.equal(late.code, 'COMMAND_EXPIRED')
  // One that waits behind a slow write expires in the queue.
  p.plant.faults.set(1, { kind: 'delay', ms: 150, times: 1 })
  const slow = p.write(raw(10, 5))
  const waiting = await failure(
    p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, 6)], actor, deadline: Date.now() + 40 }),
  )
  assert.equal(waiting.code, 'COMMAND_EXPIRED')
  assert.deepEqual(outcomes(waiting.details.results), ['not_sent'])
  await slow
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [5] }])
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

test('a raw write obeys the rules of the points it touches', async () => {
  const p = await plant({
    points: [
      { name: 'level', address: 10, min: 0, max: 100 },
      { name: 'serial', address: 11, access: 'r' },
      { name: 'energy', address: 20, type: 'uint32' },
      { name: 'setpoint', address: 30, type: 'int16', scale: 0.1, min: 5, max: 30, step: 0.5 },
      { name: 'state', address: 40, enum: { off: 0, on: 1 } },
    ],
  })
  for (const [item, code] of [
    [raw(10, 101), 'VALUE_OUT_OF_RANGE'],
    [raw(11, 1), 'READ_ONLY'],
    [raw(10, 1, 1), 'READ_ONLY'],
    [raw(20, 1), 'POINT_TORN'],
    [raw(21, 1), 'POINT_TORN'],
    [raw(30, 301), 'VALUE_OUT_OF_RANGE'],
    [raw(30, 203), 'VALUE_OUT_OF_RANGE'],
    [raw(40, 2), 'VALUE_OUT_OF_RANGE'],
  ] as [WriteItem, string][]) {
    assert.equal((await failure(p.write(item))).code, code, JSON.stringify(item))
  }
  assert.deepEqual(p.wire(), [])
  await p.write(raw(20, 1, 2), raw(30, 205), raw(40, 1), raw(50, 9), raw(10, 100))
  assert.equal(p.wire().length, 5)
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

test('write_enabled of device, bus and system, live; each refusal is audited', async () => {
  const p = await plant()
  p.field.writes.setSystem(false)
  assert.equal((await failure(p.write(raw(10, 1)))).code, 'WRITE_DISABLED')
  p.field.writes.setSystem(true)
  p.field.writes.setBus(`${p.plant.host}:${p.plant.port}`, false)
  assert.equal((await failure(p.write(raw(10, 1)))).code, 'WRITE_DISABLED')
  p.field.writes.setBus(`${p.plant.host}:${p.plant.port}`, true)
  p.field.apply([p.record('unit1', { write_enabled: false })])
  assert.equal((await failure(p.write(raw(10, 1)))).code, 'WRITE_DISABLED')
  p.field.apply([p.record('unit1')])
  await p.write(raw(10, 1))
  assert.deepEqual(
    p.audit.map((record) => record.outcome),
    ['not_sent', 'not_sent', 'not_sent', 'ok'],
  )
  await p.close()
})

test('one device that closes its bus closes it for all on it, also for what waits, and only while it is active', async () => {
  const patient = { timeout_ms: 5_000 }
  const p = await openField({ units: { 1: { holding: {} }, 2: { holding: {} } } }, { unit1: patient, unit2: patient })
  const write = (device_id: string) => p.field.request({ op: 'write', device_id, items: [raw(1, 1)], actor })
  const [one, two] = p.records
  await write('unit1')
  p.plant.faults.set(1, { kind: 'delay', ms: 100, times: 1 })
  const running = write('unit1')
  const waiting = failure(write('unit1'))
  await until(() => p.plant.requests >= 2)
  p.field.apply([one!, p.record('unit2', { ...patient, options: { bus_write_enabled: false } })])
  assert.deepEqual(
    p.field.gateways().map(({ write_enabled }) => write_enabled),
    [false],
  )
  assert.equal((await running).results[0]!.outcome, 'ok', 'what is on the wire is waited for')
  for (const error of [await waiting, await failure(write('unit1')), await failure(write('unit2'))]) {
    assert.equal(error.code, 'WRITE_DISABLED')
    assert.match(error.message, /disabled for bus/)
  }
  p.field.apply([one!, p.record('unit2', { ...patient, options: { bus_write_enabled: false }, is_active: false })])
  await write('unit1')
  p.field.apply([one!, two!])
  await write('unit2')
  assert.equal(p.plant.log.length, 4)
  await p.close()
})

test('a write that waits for its bus is not sent once writing is disabled', async () => {
  const p = await plant({ timeout_ms: 5_000 })
  p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
  const reading = p.read(10)
  await until(() => p.plant.requests === 1)
  const waiting = failure(p.write(raw(10, 1)))
  await until(() => p.field.gateways()[0]!.queued === 1)
  p.field.writes.setSystem(false)
  await reading
  const error = await waiting
  assert.equal(error.code, 'WRITE_DISABLED')
  assert.deepEqual(outcomes(error.details.results), ['not_sent'])
  assert.deepEqual(p.wire(), [])
  assert.deepEqual(
    p.audit.map(({ refused }) => refused),
    [true],
  )
  await p.close()
})

test('a write is not repeated once writing is disabled; its outcome stays unknown', async () => {
  const p = await plant({ timeout_ms: 400, max_retries: 5, points: [{ name: 'mode', address: 10, retry: 'safe' }] })
  p.plant.faults.set(1, { kind: 'silence' })
  const waiting = failure(p.write({ point: 'mode', value: 3 }))
  await until(() => p.wire().length === 1)
  p.field.writes.setSystem(false)
  const error = await waiting
  assert.deepEqual([error.code, outcomes(error.details.results)], ['WRITE_OUTCOME_UNKNOWN', ['unknown']])
  assert.equal(p.wire().length, 1)
  await p.close()
})

test('a broadcast is refused while a device it would reach is not to be written', async () => {
  const p = await openField(
    { port: 0, kind: 'rtu_tcp', units: { 1: { holding: {} }, 2: { holding: {} } } },
    { unit1: { framer: 'RTU' }, unit2: { framer: 'RTU' } },
  )
  const all = p.record('all', { framer: 'RTU', unit_id: 0 })
  const write = () => failure(p.field.request({ op: 'write', device_id: 'all', items: [raw(10, 1)], actor }))
  const guarded = (is_active: boolean) => p.record('unit2', { framer: 'RTU', write_enabled: false, is_active })
  p.field.apply([p.records[0]!, guarded(true), all])
  assert.equal((await write()).code, 'WRITE_DISABLED')
  assert.deepEqual(p.plant.log, [])
  p.field.apply([p.records[0]!, guarded(false), all])
  assert.equal((await write()).code, 'WRITE_OUTCOME_UNKNOWN', 'sent, and confirmed by nobody')
  await p.close()
})

test('a write that is refused because the product stops is audited too', async () => {
  const p = await plant()
  await p.field.stop(100)
  assert.equal((await failure(p.write(raw(10, 42)))).code, 'SHUTTING_DOWN')
  assert.deepEqual(
    p.audit.map(({ outcome, refused, error }) => [outcome, refused, error?.code]),
    [['not_sent', true, 'SHUTTING_DOWN']],
  )
  await p.plant.close()
})

test('the audit tells who, what, before, after, outcome', async () => {
  const p = await plant()
  await p.read(10)
  await p.write(raw(10, 42))
  const [record] = p.audit
  assert.deepEqual(
    { ...record, at: 0, duration_ms: 0 },
    {
      at: 0,
      device_id: 'unit1',
      bus: `${p.plant.host}:${p.plant.port}`,
      unit: 1,
      actor,
      item: raw(10, 42),
      register_type: 'holding',
      address: 10,
      before: [7],
      after: [42],
      outcome: 'ok',
      refused: false,
      error: null,
      duration_ms: 0,
    },
  )
  const unknown = await failure(p.field.request({ op: 'write', device_id: 'nobody', items: [raw(1, 1)], actor }))
  assert.equal(unknown.code, 'DEVICE_UNKNOWN')
  assert.equal(p.audit.at(-1)!.error!.code, 'DEVICE_UNKNOWN')
  await p.close()
})

test('an audit that fails does not change what happened', async () => {
  const p = await openField(
    { port: 0, units: { 1: {} } },
    { unit1: {} },
    { audit: () => Promise.reject(new Error('full')) },
  )
  const { results } = await p.field.request({ op: 'write', device_id: 'unit1', items: [raw(1, 1)], actor })
  assert.deepEqual(outcomes(results), ['ok'])
  await p.close()
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

test('the interval of a record holds whoever else writes its unit', async () => {
  const p = await plant({ options: { min_interval_ms: 60_000 } })
  p.field.apply([...p.records, p.record('other', { slave_id: 1 })])
  await p.write(raw(9, 1))
  await p.field.request({ op: 'write', device_id: 'other', items: [raw(10, 1)], actor })
  assert.equal((await failure(p.write(raw(10, 2)))).code, 'THROTTLED')
  await p.close()
})

test('more writes than may wait for a device are refused unsent; another device is written all the same', async () => {
  const p = await openField(
    { units: { 1: { holding: [0] }, 2: { holding: [0] } } },
    { unit1: { timeout_ms: 5_000, options: { queue_limit: 5 } }, unit2: { timeout_ms: 5_000 } },
  )
  p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
  const write = (device_id: string, value: number) =>
    p.field.request({ op: 'write', device_id, items: [raw(0, value)], actor })
  const writes = Array.from({ length: 10 }, (_, n) => write('unit1', n))
  const other = write('unit2', 9)
  const ends = await Promise.all(writes.map((one) => one.then(() => 'ok').catch(({ code }) => code)))
  // One is on the wire, five wait.
  assert.deepEqual(ends, [...Array(6).fill('ok'), ...Array(4).fill('BUS_OVERLOADED')])
  assert.deepEqual(
    p.audit.filter(({ error }) => error?.code === 'BUS_OVERLOADED').map(({ outcome }) => outcome),
    Array(4).fill('not_sent'),
  )
  await other
  assert.deepEqual(
    p.plant.log.map(({ unit, values }) => [unit, values[0]]).filter(([unit]) => unit === 1),
    Array.from({ length: 6 }, (_, n) => [1, n]),
  )
  assert.equal(p.plant.get(2, 'holding', 0), 9)
  await p.close()
})

test('a write that waits while the rules of its device change is not sent under the old ones', async () => {
  const points = (max: number) => [{ name: 'setpoint', address: 10, max }]
  const p = await plant({ timeout_ms: 5_000, points: points(100) })
  for (const change of [{ points: points(50) }, { points: points(100), raw_write: 'deny' }]) {
    p.field.apply(p.records)
    p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
    const [asked, logged] = [p.plant.requests, p.wire().length]
    const reading = p.read(0)
    await until(() => p.plant.requests === asked + 1)
    const waiting = failure(p.write({ point: 'setpoint', value: 80 }))
    await until(() => p.field.gateways()[0]!.queued === 1)
    p.field.apply([p.record('unit1', { timeout_ms: 5_000, ...change })])
    await reading
    assert.equal((await waiting).code, 'WRITE_DISABLED', JSON.stringify(change))
    assert.equal(p.wire().length, logged)
  }
  p.field.apply(p.records)
  p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
  const asked = p.plant.requests
  const reading = p.read(0)
  await until(() => p.plant.requests === asked + 1)
  const written = p.write({ point: 'setpoint', value: 80 })
  await until(() => p.field.gateways()[0]!.queued === 1)
  p.field.apply([p.record('unit1', { timeout_ms: 4_000, points: points(100) })])
  await reading
  assert.deepEqual(outcomes((await written).results), ['ok'], 'what does not touch the write does not end it')
  await p.close()
})

test('writes of one unit keep their order, item by item', async () => {
  const p = await plant()
  await Promise.all([p.write(raw(1, 1), raw(3, 1), raw(5, 1)), p.write(raw(5, 2)), p.write(raw(1, 3), raw(5, 3))])
  assert.deepEqual(
    p.wire().map(({ address, values }) => [address, values[0]]),
    [
      [1, 1],
      [3, 1],
      [5, 1],
      [5, 2],
      [1, 3],
      [5, 3],
    ],
  )
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

test('a caller that gives up while the write is on the wire still gets its true outcome', async () => {
  const p = await plant({ timeout_ms: 5_000 })
  const abort = new AbortController()
  p.plant.faults.choose(() => {
    abort.abort()
    return { kind: 'delay', ms: 100 }
  })
  const { results } = await p.field.request(
    { op: 'write', device_id: 'unit1', items: [raw(10, 42)], actor },
    abort.signal,
  )
  assert.deepEqual(outcomes(results), ['ok'])
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

test('a device that is disabled, removed or moved while a write waits is not written', async () => {
  const p = await plant({ timeout_ms: 1_000 })
  for (const change of [{ write_enabled: false }, { is_active: false }, { slave_id: 2 }]) {
    p.field.apply(p.records)
    await p.read(0)
    p.plant.faults.set(1, { kind: 'delay', ms: 60, times: 1 })
    const first = p.write(raw(10, 1))
    const waiting = failure(p.write(raw(11, 2)))
    p.field.apply([p.record('unit1', { timeout_ms: 1_000, ...change })])
    await first.catch(() => undefined)
    assert.equal((await waiting).code, 'WRITE_DISABLED', JSON.stringify(change))
  }
  assert.equal(
    p.wire().some(({ address }) => address === 11),
    false,
  )
  await p.close()
})

test('RTU over TCP: the late confirmation of a write is not taken for the next one, nor for its read-back', async () => {
  const p = await openField(
    { port: 0, kind: 'rtu_tcp', units: { 1: { holding: { 10: 0 } } } },
    { unit1: { framer: 'RTU', timeout_ms: 60, options: { late_grace_ms: 200, read_back: 'unknown' } } },
  )
  const write = (value: number) => p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, value)], actor })
  p.plant.faults.set(1, { kind: 'delay', ms: 120, times: 1 })
  assert.deepEqual(outcomes((await write(41)).results), ['ok'])
  // The device never sees this one; the late answer of an earlier write must not confirm it.
  p.plant.faults.set(1, { kind: 'delay', ms: 120, times: 1, functions: [6] })
  await write(42).catch(() => undefined)
  p.plant.faults.set(1, { kind: 'deaf', functions: [6] })
  const error = await failure(write(43))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.plant.get(1, 'holding', 10), 42)
  await p.close()
})
