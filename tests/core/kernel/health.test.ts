import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type HealthFacts, healthOf } from '../../../core/kernel/health.js'

const well: HealthFacts = {
  uptimeMs: 1_000,
  database: { state: 'ok' },
  mqttConnected: true,
  devices: [{ device_id: 'pump', state: 'online', breaker: 'closed' }],
  standby: [],
  buses: [{ id: '/dev/ttyUSB0', notice: null }],
  pollerEnabled: true,
  notStoring: undefined,
  readingsNotice: undefined,
  auditNotice: undefined,
  auditRefusal: undefined,
  diskReason: undefined,
  workers: undefined,
}

test('where all is well nothing is said', () => {
  const { status, services, details } = healthOf(well)
  assert.deepEqual([status, details], ['ok', {}])
  assert.deepEqual(services, { database: 'ok', mqtt: 'ok', modbus: 'ok', poller: 'ok', workers: 'ok' })
})

test('what people should know about a bus is said, and takes nothing out of service', () => {
  const { status, services, details } = healthOf({
    ...well,
    buses: [...well.buses, { id: '/dev/ttyUSB1', notice: 'LINE_ECHO: the line gives back what is sent to it' }],
  })
  assert.deepEqual([status, services.modbus], ['ok', 'ok'])
  assert.deepEqual(details.buses, ['/dev/ttyUSB1: LINE_ECHO: the line gives back what is sent to it'])
})

test('that the database takes no reading is a warning, in words, while they wait on the disk', () => {
  const { status, services, details } = healthOf({ ...well, readingsNotice: 'the database takes no readings' })
  assert.deepEqual([status, services.poller], ['ok', 'warning'])
  assert.equal(details.readings, 'the database takes no readings')
})

test('an audit spool that fills is told before it is full, and takes nothing out of service yet', () => {
  const { status, details } = healthOf({ ...well, auditNotice: 'half of it' })
  assert.deepEqual([status, details.audit], ['ok', 'half of it; once it is full no device is written'])
})

test('a device that is off is a warning, a broker that is away degrades', () => {
  const off = healthOf({
    ...well,
    devices: [{ device_id: 'pump', state: 'offline', reason: 'silent', breaker: 'open' }],
  })
  assert.deepEqual([off.status, off.services.modbus, off.details.modbus], ['ok', 'warning', ['pump: does not answer']])
  assert.equal(healthOf({ ...well, mqttConnected: false }).status, 'degraded')
})

test('that no device is written because nothing can be audited is said, and is degraded', () => {
  const { status, details } = healthOf({ ...well, auditRefusal: 'no space left on device' })
  assert.equal(status, 'degraded')
  assert.equal(details.writes, 'writes are refused: nothing can be audited (no space left on device)')
})

test('that the disk takes nothing is said, with what is refused for it', () => {
  const { status, details } = healthOf({ ...well, diskReason: 'the spool cannot be opened: read-only file system' })
  assert.equal(status, 'ok')
  assert.match(String(details.disk), /must run once.*refused: the spool cannot be opened: read-only/)
})
