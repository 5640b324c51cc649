import assert from 'node:assert/strict'
import { test } from 'node:test'
import { busReadings, deviceReadings } from '../../../core/kernel/field-readings.js'
import { Metrics } from '../../../core/observability/metrics.js'

const bus = (id: string, connected = true) => ({
  id,
  connected,
  devices: ['a', 'b'],
  in_flight: 1,
  queued: 3,
  round_trip_ms: connected ? 4.5 : null,
})
const device = (state: 'online' | 'offline') => ({ state }) as never

test('buses and the states of devices are in the metrics, however many there are', async (t) => {
  const metrics = new Metrics({ process: 'gateway' })
  t.after(() => metrics.stop())
  const buses = [
    bus('10.0.0.7:502'),
    bus('/dev/ttyUSB0', false),
    ...Array.from({ length: 300 }, (_, at) => bus(`b${at}`)),
  ]
  const field = { gateways: () => buses, devices: () => [device('online'), device('online'), device('offline')] }
  metrics.stats('bus', busReadings(field))
  metrics.stats('devices', deviceReadings(field))
  const text = await metrics.text()
  const value = (name: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`routemq_${name}`))
        ?.split(' ')
        .at(-1),
    )
  assert.equal(value('bus_connected{process="gateway",bus="10.0.0.7:502"}'), 1)
  assert.equal(value('bus_connected{process="gateway",bus="/dev/ttyUSB0"}'), 0)
  assert.equal(value('bus_queued{process="gateway",bus="10.0.0.7:502"}'), 3)
  assert.equal(value('bus_round_trip_ms{process="gateway",bus="10.0.0.7:502"}'), 4.5)
  assert.equal(text.match(/^routemq_bus_connected\{/gm)?.length, 201, 'two hundred, and all others as one')
  assert.equal(value('bus_devices{process="gateway",bus="other"}'), 2 * 102)
  assert.deepEqual(
    ['online', 'offline', 'unknown', 'standby', 'conflict'].map((state) =>
      value(`devices_${state}{process="gateway"}`),
    ),
    [2, 1, 0, 0, 0],
  )
})
