import type { FieldService } from '../modbus/field-service.js'
import { BoundedLabel } from '../observability/bounded-label.js'
import type { StatsReading } from '../observability/stats-metrics.js'

const STATES = ['online', 'offline', 'unknown', 'standby', 'conflict'] as const

type Field = Pick<FieldService, 'devices'> & {
  gateways(): readonly Pick<
    ReturnType<FieldService['gateways']>[number],
    'id' | 'connected' | 'devices' | 'in_flight' | 'queued' | 'round_trip_ms'
  >[]
}

/** Numbers of each bus, for `/metrics`. Beyond its bound of labels buses are added up. */
export function busReadings(field: Field): () => readonly StatsReading[] {
  const label = new BoundedLabel()
  return () =>
    field.gateways().map(({ id, connected, devices, in_flight, queued, round_trip_ms }) => ({
      labels: { bus: label.of(id) },
      stats: { connected, devices: devices.length, in_flight, queued, round_trip_ms },
    }))
}

/** How many devices are in each state: one that is off must show as a number, not as a line that is missing. */
export function deviceReadings(field: Field): () => readonly StatsReading[] {
  return () => {
    const states = field.devices().map(({ state }) => state)
    const count = (wanted: string) => states.filter((state) => state === wanted).length
    return [{ labels: {}, stats: Object.fromEntries(STATES.map((state) => [state, count(state)])) }]
  }
}
