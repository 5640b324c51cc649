import type { Config, HttpConfig } from '../../../core/config/config.js'
import type { LiveEvent } from '../../../core/http/services/history.js'
import type { ApiKeyRecord, KeyService } from '../../../core/http/services/keys.js'
import type { SidecarServices } from '../../../core/http/services.js'
import type { DeviceRecord, TargetRecord } from '../../../core/modbus/device-record.js'
import { normalizeDevice, updateDevice } from '../../../core/modbus/device-schema.js'
import type { FieldPort, FieldRequest } from '../../../core/modbus/field.js'
import { normalizeTarget, updateTarget } from '../../../core/modbus/target-schema.js'
import { RouteMQError } from '../../../core/support/errors.js'

export const RUN_TOKEN = 'run-token-of-the-tests'

export function httpConfig(overrides: Partial<HttpConfig> = {}): HttpConfig {
  return { enabled: true, host: '127.0.0.1', port: 0, mayMove: false, apiKeys: [], ...overrides }
}

export const testConfig = {
  mode: 'demo',
  app: { name: 'routemq' },
  log: { level: 'debug', format: 'json' },
  poller: { enabled: true, intervalMs: 1_000, cacheTtlMs: 300_000 },
} as Config

const NO_METRICS = {
  modbus: {
    total_requests: 0,
    successful_requests: 0,
    failed_requests: 0,
    success_rate_percent: 0,
    average_latency_ms: 0,
    requests_by_type: {},
    errors_by_type: {},
  },
  cache: { hits: 0, misses: 0, sets: 0, evictions: 0, hit_rate_percent: 0 },
  polling: {
    total_cycles: 0,
    successful_cycles: 0,
    failed_cycles: 0,
    total_targets_polled: 0,
    total_targets_success: 0,
    total_targets_failed: 0,
    success_rate_percent: 0,
    average_cycle_duration_ms: 0,
    last_cycle_time: null,
    skipped_slots: 0,
    average_lateness_ms: 0,
    p99_lateness_ms: 0,
    max_lateness_ms: 0,
    published_messages: 0,
    publish_failures: 0,
    sink_failures: 0,
  },
}

export function meter(device_id: string, index = 0): DeviceRecord {
  return normalizeDevice({
    device_id,
    host: '127.0.0.1',
    port: 5020,
    slave_id: index + 1,
    points: [
      { name: 'level', address: 10, min: 0, max: 100 },
      { name: 'reset', address: 90, access: 'w' },
    ],
  })
}

export interface Plant extends SidecarServices {
  readonly asked: FieldRequest[]
  readonly actors: string[]
  emit(event: LiveEvent): void
}

export interface PlantOptions extends Partial<SidecarServices> {
  readonly answer?: FieldPort['request']
  /** The first devices. @default meter-1 and meter-2 */
  readonly records?: readonly DeviceRecord[]
  /** Told of every change of the devices. */
  readonly apply?: (devices: readonly DeviceRecord[]) => void
}

/** The product in memory: real records and their rules, a field that answers what it is told to. */
export function plant(overrides: PlantOptions = {}): Plant {
  const devices = new Map<string, DeviceRecord>()
  const targets = new Map<number, TargetRecord>()
  const asked: FieldRequest[] = []
  const actors: string[] = []
  const listeners = new Set<(event: LiveEvent) => void>()
  for (const record of overrides.records ?? ['meter-1', 'meter-2'].map(meter)) devices.set(record.device_id, record)
  overrides.apply?.([...devices.values()])
  targets.set(1, normalizeTarget({ device_id: 'meter-1', address: 0, count: 10 }, 1))
  const device = (id: string) => {
    const found = devices.get(id)
    if (found === undefined) throw new RouteMQError('DEVICE_UNKNOWN', `no device is called ${id}`)
    return found
  }
  const target = (id: number) => {
    const found = targets.get(id)
    if (found === undefined) throw new RouteMQError('TARGET_UNKNOWN', `no target has the id ${id}`)
    return found
  }
  const keep = (record: DeviceRecord) => {
    devices.set(record.device_id, record)
    overrides.apply?.([...devices.values()])
    return record
  }
  const answer: FieldPort['request'] = (async (request: FieldRequest) => {
    device(request.device_id)
    if (request.op === 'read') {
      const { op: _, source = 'live', ...block } = request
      const values = Array.from({ length: block.count }, (_, offset) => block.address + offset)
      return { ...block, values, source, timestamp: 1_700_000_000.25, quality: 'good' }
    }
    if (request.op === 'read_points') {
      const points = request.points.map((point) => ({ point, value: 7, unit: null, quality: 'good', timestamp: 1 }))
      return { device_id: request.device_id, points }
    }
    if (request.op === 'identify') return { device_id: request.device_id, server_id: null, objects: {}, errors: [] }
    return { device_id: request.device_id, results: request.items.map((item) => ({ item, outcome: 'ok' })) }
  }) as FieldPort['request']
  const { answer: told, records: _, apply: __, ...rest } = overrides
  return {
    config: testConfig,
    version: '0.1.0',
    asked,
    actors,
    emit(event) {
      for (const listener of listeners) listener(event)
    },
    health: () => ({
      status: 'ok',
      services: { database: 'ok', mqtt: 'ok', modbus: 'warning', poller: 'ok', workers: 'ok' },
      details: { modbus: 'meter-2 is off' },
      uptime: 1.5,
    }),
    ready: () => ({ ready: true, checks: { configuration: 'ok' } }),
    field: {
      request: (request, signal) => {
        asked.push(request)
        return (told ?? answer)(request, signal)
      },
    },
    devices: {
      list: async (filter) => [...devices.values()].filter((each) => filter?.activeOnly !== true || each.is_active),
      get: async (id) => device(id),
      create: async (input, actor) => {
        actors.push(actor.name)
        if (devices.has(input.device_id)) throw new RouteMQError('DEVICE_EXISTS', `${input.device_id} exists`)
        return keep(normalizeDevice(input))
      },
      update: async (id, changes) =>
        keep(updateDevice(device(id), typeof changes === 'function' ? changes(device(id)) : changes)),
      remove: async (id) => {
        keep({ ...device(id), is_active: false })
      },
      activate: async (id) => keep({ ...device(id), is_active: true }),
      reload: async () => [...devices.keys()],
      gateways: () => [{ host: '127.0.0.1', port: 5020, connected: true, devices: [...devices.keys()] }],
    },
    targets: {
      list: async (filter) =>
        [...targets.values()].filter(
          (each) =>
            (filter?.activeOnly !== true || each.is_active) &&
            (filter?.deviceId === undefined || each.device_id === filter.deviceId),
        ),
      get: async (id) => target(id),
      create: async (input) => {
        device(input.device_id)
        const record = normalizeTarget(input, targets.size + 1)
        targets.set(record.id, record)
        return record
      },
      update: async (id, changes) => {
        const record = updateTarget(target(id), changes)
        targets.set(id, record)
        return record
      },
      remove: async (id) => {
        targets.set(id, { ...target(id), is_active: false })
      },
      activate: async (id) => {
        const record = { ...target(id), is_active: true }
        targets.set(id, record)
        return record
      },
    },
    cache: {
      entries: (deviceId) =>
        [
          {
            device_id: 'meter-1',
            register_type: 'holding' as const,
            address: 0,
            count: 2,
            values: [1, 2],
            key: 'meter-1:holding:0:2',
            cached_at: '2026-01-01T00:00:00.000Z',
            age_seconds: 1.5,
          },
        ].filter((entry) => deviceId === undefined || entry.device_id === deviceId),
      clear: () => 1,
    },
    metrics: {
      snapshot: () => NO_METRICS,
      reset: () => {},
      prometheus: async () => '# HELP routemq_up 1\n# TYPE routemq_up gauge\nroutemq_up 1\n',
    },
    live: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    ...rest,
  }
}

export function keyStore(records: ApiKeyRecord[] = []): KeyService {
  const kept = new Map(records.map((record) => [record.prefix, record]))
  return {
    any: () => [...kept.values()].some((record) => record.revoked_at === null),
    find: (prefix) => kept.get(prefix),
    list: async () => [...kept.values()],
    add: async (record) => {
      kept.set(record.prefix, record)
    },
    revoke: async (prefix) => {
      const record = kept.get(prefix)
      if (record === undefined) throw new RouteMQError('KEY_UNKNOWN', `no key has the prefix ${prefix}`)
      kept.set(prefix, { ...record, revoked_at: new Date().toISOString() })
    },
  }
}
