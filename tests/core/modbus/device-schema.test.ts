import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deviceIdSchema, normalizeDevice, updateDevice } from '../../../core/modbus/device-schema.js'
import { busIdOf, checkBusConflict, endpointOf, unitOf } from '../../../core/modbus/endpoint.js'
import { normalizeTarget, updateTarget } from '../../../core/modbus/target-schema.js'
import type { RouteMQError } from '../../../core/support/errors.js'

const fieldsOf = (run: () => unknown): string[] => {
  try {
    run()
  } catch (error) {
    return ((error as RouteMQError).details!.fields as { field: string }[]).map(({ field }) => field)
  }
  throw new Error('nothing was refused')
}

test('the defaults of the contract', () => {
  const record = normalizeDevice({ device_id: 'a', host: '10.0.0.7', port: 502 }, 0)
  assert.deepEqual(record, {
    device_id: 'a',
    host: '10.0.0.7',
    port: 502,
    slave_id: 1,
    unit_id: null,
    timeout: 10,
    timeout_ms: null,
    poll_timeout_ms: null,
    framer: 'RTU',
    transport: 'tcp',
    path: null,
    baud_rate: null,
    parity: null,
    data_bits: null,
    stop_bits: null,
    max_retries: 5,
    retry_delay: 0.1,
    write_enabled: true,
    raw_write: 'allow',
    is_active: true,
    points: [],
    options: {},
    created_at: '1970-01-01T00:00:00.000Z',
    updated_at: '1970-01-01T00:00:00.000Z',
  })
  assert.deepEqual(normalizeTarget({ device_id: 'a', address: 3 }, 7, 0), {
    id: 7,
    device_id: 'a',
    register_type: 'holding',
    address: 3,
    count: 1,
    description: null,
    is_active: true,
    interval_ms: null,
    publish: 'always',
    options: {},
    created_at: '1970-01-01T00:00:00.000Z',
    updated_at: '1970-01-01T00:00:00.000Z',
  })
})

test('device ids are topic levels', () => {
  for (const good of ['a', 'Halle 3', 'größe', '🏭', 'x'.repeat(50)])
    assert.ok(deviceIdSchema.safeParse(good).success, good)
  for (const bad of ['', 'a/b', '+', 'a#', 'x'.repeat(51), 'a\u0000', 'a\nb', 'a\u0085', 'a\ud800', '\udc00b']) {
    assert.equal(deviceIdSchema.safeParse(bad).success, false, JSON.stringify(bad))
  }
})

test('every mistake is named at once, unknown fields too', () => {
  const mistakes = fieldsOf(() =>
    normalizeDevice({
      device_id: 'a/b',
      host: 'h',
      port: 0,
      slave_id: 248,
      timeout: 0.5,
      max_retries: 11,
      colour: 'red',
    }),
  )
  assert.deepEqual(mistakes.sort(), ['colour', 'device_id', 'max_retries', 'port', 'slave_id', 'timeout'])
})

test('fields that contradict each other are named', () => {
  const device = (more: Record<string, unknown>) => fieldsOf(() => normalizeDevice({ device_id: 'a', ...more }))
  assert.deepEqual(device({}), ['host', 'port'])
  assert.deepEqual(device({ transport: 'serial' }), ['path'])
  assert.deepEqual(device({ path: '/dev/x', framer: 'SOCKET', unit_id: 3 }), ['framer', 'unit_id'])
  assert.equal(normalizeDevice({ device_id: 'all', path: '/dev/x', unit_id: 0 }).unit_id, 0, 'everybody on a line')
  assert.deepEqual(device({ host: 'h', port: 1, transport: 'udp', framer: 'RTU' }), ['framer'])
  assert.deepEqual(device({ host: 'h', port: 1, points: [{ name: 'x', address: 0, type: 'bit' }] }), ['points.0.bit'])
  const target = (more: Record<string, unknown>) =>
    fieldsOf(() => normalizeTarget({ device_id: 'a', address: 0, ...more }, 1))
  assert.deepEqual(target({ count: 126 }), ['count'])
  assert.deepEqual(target({ address: 65_535, count: 2 }), ['count'])
  assert.deepEqual(target({ publish: 'trigger' }), ['options.trigger'])
  assert.deepEqual(target({ publish: 'deadband' }), ['options.deadband'])
  assert.deepEqual(target({ count: 4, options: { events: [{ address: 4 }] } }), ['options.events.0'])
  assert.equal(normalizeTarget({ device_id: 'a', address: 0, count: 2_000, register_type: 'coil' }, 1).count, 2_000)
})

test('endpoint, bus and unit of a record', () => {
  const net = (more: Record<string, unknown>) => normalizeDevice({ device_id: 'a', host: 'H', port: 502, ...more })
  assert.deepEqual(endpointOf(net({})), { kind: 'rtu_tcp', host: 'H', port: 502 })
  assert.equal(endpointOf(net({ framer: 'socket' })).kind, 'tcp')
  assert.equal(endpointOf(net({ framer: 'ascii' })).kind, 'ascii_tcp')
  assert.equal(endpointOf(net({ transport: 'udp' })).kind, 'udp')
  assert.equal(endpointOf(net({ transport: 'tls' })).kind, 'tls')
  assert.equal(busIdOf(net({})), 'h:502')
  assert.equal(unitOf(net({ slave_id: 4 })), 4)
  assert.equal(unitOf(net({ slave_id: 4, unit_id: 255 })), 255)
  const serial = normalizeDevice({ device_id: 's', path: '/dev/ttyUSB0', baud_rate: 19_200, parity: 'even' })
  assert.equal(busIdOf(serial), '/dev/ttyUSB0')
  assert.deepEqual(endpointOf(serial), {
    kind: 'serial_rtu',
    path: '/dev/ttyUSB0',
    baudRate: 19_200,
    parity: 'even',
    dataBits: 8,
    stopBits: 1,
  })
})

test('the same host and port with another framer is a conflict; with another id of the same framer it is not', () => {
  const record = (device_id: string, framer: string, more = {}) =>
    normalizeDevice({ device_id, host: 'h', port: 502, framer, ...more })
  checkBusConflict([record('a', 'RTU')], record('b', 'RTU'))
  checkBusConflict([record('a', 'RTU')], record('a', 'SOCKET'))
  checkBusConflict([record('a', 'RTU', { is_active: false })], record('b', 'SOCKET'))
  assert.throws(() => checkBusConflict([record('a', 'RTU')], record('b', 'SOCKET')), { code: 'BUS_CONFLICT' })
})

test('a partial update keeps the rest and is checked as a whole', () => {
  const record = normalizeDevice(
    { device_id: 'a', host: 'h', port: 502, timeout: 3, points: [{ name: 'x', address: 1 }] },
    0,
  )
  const updated = updateDevice(record, { timeout: 4 }, 1_000)
  assert.deepEqual({ ...updated, timeout: 3, updated_at: record.updated_at }, record)
  assert.equal(updated.timeout, 4)
  assert.deepEqual(
    fieldsOf(() => updateDevice(record, { host: null })),
    ['host'],
  )
  assert.deepEqual(
    fieldsOf(() => updateDevice(record, { device_id: 'b' })),
    ['device_id'],
  )
  const target = normalizeTarget({ device_id: 'a', address: 5 }, 3, 0)
  assert.equal(updateTarget(target, { count: 4 }).count, 4)
  assert.equal(updateTarget(target, { count: 4 }).id, 3)
  assert.deepEqual(
    fieldsOf(() => updateTarget(target, { count: 200 })),
    ['count'],
  )
})
