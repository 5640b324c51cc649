import type {
  AuditView,
  BucketQuery,
  EventView,
  ReadingQuery,
  ReadingView,
} from '../../../core/http/services/history.js'
import type { DeadLetterView, WorkerView } from '../../../core/http/services/runtime.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { keyStore, type Plant, type PlantOptions, plant } from './fake-services.js'

/** What spreadsheets and doubles do not take as it is. */
const SPECIAL: Readonly<Record<number, number | string>> = {
  1: -5,
  2: '9007199254740993',
  3: '-9007199254740993',
  4: '-1+cmd',
}

export interface FullPlant extends Plant {
  readonly queries: (ReadingQuery | BucketQuery)[]
}

/** A product with every optional part, so that every path has a success to answer with. */
export function fullPlant(overrides: PlantOptions = {}): FullPlant {
  const queries: (ReadingQuery | BucketQuery)[] = []
  const rows: ReadingView[] = Array.from({ length: 2_500 }, (_, index) => ({
    device_id: index === 0 ? '=cmd' : 'meter-1',
    point: 'level',
    value: SPECIAL[index] ?? index,
    quality: 'good',
    timestamp: new Date(1_700_000_000_000 - index).toISOString(),
  }))
  const workers: WorkerView[] = [{ name: 'slot-1', pid: 42, state: 'ready', restarts: 0 }]
  const letter: DeadLetterView = {
    id: 'dead-1',
    route: 'devices.write',
    topic: 'devices/meter-1/write',
    error: { code: 'DEVICE_TIMEOUT', message: 'no answer' },
    attempts: 3,
    failed_at: '2026-01-01T00:00:00.000Z',
  }
  const letterOf = (id: string) => {
    if (id !== letter.id) throw new RouteMQError('DEAD_LETTER_UNKNOWN', `no dead letter has the id ${id}`)
    return { ...letter, payload: 'e30=' }
  }
  const event: EventView = {
    kind: 'device',
    device_id: 'meter-1',
    timestamp: '2026-01-01T00:00:00.000Z',
    state: 'offline',
  }
  const entry: AuditView = {
    actor: { kind: 'http', name: 'key:abc' },
    action: 'write',
    timestamp: '2026-01-01T00:00:00.000Z',
    device_id: 'meter-1',
  }
  const base = plant({
    keys: keyStore(),
    routes: () => [{ name: null, topic: 'devices/{id}', filter: 'devices/+', qos: 1, shared: true }],
    buses: () => [{ id: '127.0.0.1:5020', connected: true, devices: ['meter-1'] }],
    devicePlan: (device_id) => {
      if (device_id !== 'meter-1') throw new RouteMQError('DEVICE_UNKNOWN', `There is no active device ${device_id}.`)
      const read = {
        interval_ms: 1_000,
        register_type: 'holding',
        address: 0,
        count: 12,
        targets: [1, 2],
        unwanted: 8,
      } as const
      const reads = [{ ...read, wire_ms: 5.1 }]
      const bus = '127.0.0.1:5020'
      return { device_id, bus, targets: 2, reads, bus_load_percent: 0.5, warning: null, measured_round_trip_ms: null }
    },
    workers: {
      list: () => workers,
      restart: async (name) => {
        if (name !== undefined && name !== 'slot-1')
          throw new RouteMQError('WORKER_UNKNOWN', `no worker is called ${name}`)
        return workers
      },
      scale: async () => workers,
    },
    dead: {
      list: async () => [letter],
      show: async (id) => letterOf(id),
      retry: async (id, { force }) => {
        letterOf(id)
        if (!force) throw new RouteMQError('COMMAND_EXPIRED', 'the command is older than its deadline')
      },
      forget: async (id) => {
        letterOf(id)
      },
    },
    readings: {
      page: async (query) => {
        queries.push(query)
        const start = Number(query.cursor ?? 0)
        const items = rows.slice(start, start + query.limit)
        const next = start + query.limit
        return { items, next: next < rows.length ? String(next) : null }
      },
      buckets: async (query) => {
        queries.push(query)
        return [
          {
            start: '2026-01-01T00:00:00.000Z',
            end: '2026-01-01T00:15:00.000Z',
            device_id: 'meter-1',
            point: 'level',
            count: 2,
            avg: 1.5,
            min: 1,
            max: 2,
            last: 2,
          },
        ]
      },
    },
    events: async () => ({ items: [event], next: null }),
    audit: async () => ({ items: [entry], next: null }),
    ...overrides,
  })
  return { ...base, queries }
}
