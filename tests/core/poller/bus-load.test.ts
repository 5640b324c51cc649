import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import { FIELD_SETTINGS } from '../modbus/field-settings.js'
import { Recorder } from './poller-harness.js'

type Extra = Record<string, unknown>

/** A poller over one device that nothing opens: it only plans. */
function planned(device: Extra, targets: readonly Extra[]) {
  const field = new FieldService({
    ...FIELD_SETTINGS,
    cacheTtlMs: 0,
  })
  const devices = [normalizeDevice({ device_id: 'meter', ...device })]
  field.apply(devices)
  const poller = new Poller({
    field: field.polling,
    publisher: new Recorder(),
    config: { enabled: true, intervalMs: 1_000, cacheTtlMs: 0 },
    topicPrefix: 'modbus/data',
    logger: silentLogger,
  })
  const records = targets.map((target, at) => normalizeTarget({ device_id: 'meter', ...target }, at + 1))
  poller.apply(records, devices)
  const reads = () => poller.status().groups.map(({ reads }) => reads)
  const warning = () => poller.status().buses[0]!.warning
  return { poller, records, reads, warning }
}

const twice60 = (interval_ms: number) => [
  { address: 0, count: 60, interval_ms },
  { address: 60, count: 60, interval_ms },
]

test('reads of a slow line are joined only as far as their answer arrives well within the time-out', () => {
  const line = { path: '/dev/ttyS0', baud_rate: 9_600 }
  // Each takes 146 ms on the line and both together 271 ms; a poll every 500 ms waits 250 ms.
  const { reads, warning } = planned(line, twice60(500))
  assert.deepEqual(reads(), [2])
  assert.equal(warning(), null)
  assert.deepEqual(planned(line, twice60(2_000)).reads(), [1], 'a second is enough for both')
  assert.deepEqual(planned({ ...line, baud_rate: 115_200 }, twice60(500)).reads(), [1])
  assert.deepEqual(planned({ host: 'h', port: 502, framer: 'SOCKET' }, twice60(50)).reads(), [1])
})

test('what lies inside a block is brought by it, however long that takes', () => {
  const line = { path: '/dev/ttyS0', baud_rate: 9_600 }
  const inside = [
    { address: 0, count: 60, interval_ms: 500 },
    { address: 10, count: 20, interval_ms: 500 },
  ]
  assert.deepEqual(planned(line, inside).reads(), [1])
})

test('a target whose answer cannot arrive within the time-out is refused with the numbers, and told where it is forced', () => {
  const line = { path: '/dev/ttyS0', baud_rate: 2_400 }
  const { poller, records, warning } = planned(line, [{ address: 0, count: 125, interval_ms: 60_000 }])
  assert.throws(() => poller.checkTarget(records[0]!), {
    code: 'BUS_LOAD_REFUSED',
    message: /takes 1125 ms on the line alone, and a poll every 60000 ms waits 1000 ms/,
  })
  assert.match(poller.checkTarget(records[0]!, { force: true }).warning!, /takes 1125 ms/)
  assert.match(warning()!, /takes 1125 ms/)
  const patient = planned({ ...line, poll_timeout_ms: 2_000 }, [{ address: 0, count: 125, interval_ms: 60_000 }])
  assert.equal(patient.poller.checkTarget(patient.records[0]!).warning, null)
})

test('a target whose answer barely arrives within the time-out is warned of', () => {
  const line = { path: '/dev/ttyS0', baud_rate: 2_400 }
  const { poller, records } = planned(line, [{ address: 0, count: 100, interval_ms: 60_000 }])
  assert.match(poller.checkTarget(records[0]!).warning!, /takes 917 ms on the line alone/)
})

test('silence between frames and before another unit is time of the bus', () => {
  const five = [0, 1_000, 2_000, 3_000, 4_000].map((address) => ({ address, interval_ms: 1_000 }))
  const tcp = { host: 'h', port: 502, framer: 'SOCKET' }
  const load = ({ poller }: ReturnType<typeof planned>) => Math.round(poller.status().buses[0]!.load * 100)
  assert.equal(load(planned(tcp, five)), 3, '5 ms each, before anything was measured')
  assert.equal(load(planned({ ...tcp, options: { silence_ms: 100 } }, five)), 53)
  assert.equal(load(planned({ ...tcp, options: { silence_ms: 100, delay_ms: 150 } }, five)), 78, 'the longer one holds')
  assert.equal(load(planned({ ...tcp, options: { unit_switch_ms: 200 } }, five)), 3, 'there is no other unit')
  const { poller, records } = planned({ ...tcp, options: { silence_ms: 200 } }, five)
  assert.throws(() => poller.checkTarget(records[0]!), { code: 'BUS_LOAD_REFUSED', message: /103 % of the time/ })
})

test('the silence that one device of a bus wants is kept, and counted, for all of them', () => {
  const field = new FieldService({ ...FIELD_SETTINGS, cacheTtlMs: 0 })
  const unit = (device_id: string, slave_id: number, options = {}) =>
    normalizeDevice({ device_id, slave_id, host: 'h', port: 502, framer: 'SOCKET', options })
  const blocks = [0, 30_000, 60_000].map((address) => ({
    device_id: 'fast',
    register_type: 'holding' as const,
    address,
    count: 2,
  }))
  const time = () => Math.round(field.polling.wireTime('fast', blocks))
  field.apply([unit('fast', 1)])
  assert.equal(time(), 15)
  const version = field.polling.planVersion('fast')
  field.apply([unit('fast', 1), unit('slow', 2, { silence_ms: 30, unit_switch_ms: 70 })])
  assert.equal(time(), 15 + 3 * 30 + 40, 'one switch for all three')
  assert.notEqual(field.polling.planVersion('fast'), version, 'reads may be worth joining now')
})
