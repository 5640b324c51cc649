import assert from 'node:assert/strict'
import { test } from 'node:test'
import { busSettingsOf } from '../../../core/modbus/bus-settings.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'

const record = (slave_id: number, options: object) =>
  normalizeDevice({ device_id: `d${slave_id}`, host: 'h', port: 502, slave_id, options })

test('where the devices of a bus differ, the more careful value holds', () => {
  const settings = busSettingsOf([
    record(1, {
      in_flight: 8,
      connections: 4,
      silence_ms: 5,
      late_grace_ms: 100,
      copy_grace_ms: 50,
      local_echo: true,
      idle_close_ms: 9,
    }),
    record(2, { in_flight: 2, connections: 2, unit_switch_ms: 7, late_grace_ms: 900, idle_close_ms: 20 }),
    record(3, {}),
  ])
  assert.deepEqual(settings, {
    inFlight: 2,
    connections: 2,
    silenceMs: 5,
    unitSwitchMs: 7,
    lateGraceMs: 900,
    copyGraceMs: 50,
    localEcho: true,
    idleCloseMs: 20,
    connectTimeoutMs: 3_000,
  })
})

test('without wishes: one request on one connection that stays open', () => {
  assert.deepEqual(busSettingsOf([record(1, {})]), {
    inFlight: 1,
    connections: 1,
    silenceMs: 0,
    unitSwitchMs: 0,
    lateGraceMs: 500,
    copyGraceMs: 20,
    localEcho: false,
    idleCloseMs: 0,
    connectTimeoutMs: 3_000,
  })
})
