import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failure, openField } from './field-harness.js'
import { until } from './until.js'
import { actor, outcomes, plant, raw } from './write-plant.js'

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
