import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { createTransport } from '../../../core/modbus/transport/open.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import { atEnd, startDevice } from '../modbus/field-harness.js'
import { FIELD_SETTINGS } from '../modbus/field-settings.js'
import { Recorder, until } from './poller-harness.js'

test('a unit that takes long to begin is read in fewer requests once that was measured, and the load says so', async () => {
  const unit = await startDevice({ kind: 'rtu_tcp', units: { 1: {} } })
  unit.faults.set('*', { kind: 'delay', ms: 120 })
  // A line of 9600 baud by its settings: twenty registers of gap cost more than a request of 5 ms, and less than one of 120.
  const field = new FieldService({
    ...FIELD_SETTINGS,
    createTransport: () => createTransport({ kind: 'rtu_tcp', host: unit.host, port: unit.port }),
  })
  const devices = [normalizeDevice({ device_id: 'unit1', path: '/dev/ttyX', baud_rate: 9_600, poll_timeout_ms: 5_000 })]
  const targets = [0, 22].map((address, nth) =>
    normalizeTarget({ device_id: 'unit1', address, count: 2, interval_ms: 2_000 }, nth + 1),
  )
  const recorder = new Recorder()
  const poller = new Poller({
    field: field.polling,
    publisher: recorder,
    config: { enabled: true, intervalMs: 1_000, cacheTtlMs: 0 },
    topicPrefix: 'data',
    logger: silentLogger,
  })
  atEnd(async () => {
    await poller.stop()
    await field.stop(100)
  })
  field.apply(devices)
  poller.apply(targets, devices)
  const load = () => poller.status().buses[0]!.load
  assert.deepEqual(
    poller.plan('unit1').reads.map(({ address, count }) => [address, count]),
    [
      [0, 2],
      [22, 2],
    ],
  )
  assert.ok(load() < 0.05, `${load()}`)
  await field.start()
  poller.start()
  await until(() => poller.status().groups[0]!.reads === 1)
  assert.ok(load() > 0.06, `${load()}`)
  const { reads, bus_load_percent } = poller.plan('unit1')
  assert.deepEqual(
    reads.map(({ address, count, targets: brought, unwanted }) => [address, count, brought, unwanted]),
    [[0, 24, [1, 2], 20]],
  )
  assert.ok(Math.abs(bus_load_percent - load() * 100) < 0.1)
  // The running plan, not only what is told of it.
  const before = unit.requests
  const brought = () => recorder.on('data/unit1/holding/22').length
  const told = brought()
  await until(() => brought() >= told + 3)
  assert.ok(unit.requests - before <= 4, `${unit.requests - before} requests for three slots`)
})
