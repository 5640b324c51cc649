import type { Config } from '../config/config.js'
import type { AppDatabase } from '../database/app-tables.js'
import type { CacheEntry, CacheMetrics } from '../modbus/cache.js'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../modbus/device-record.js'
import type { Actor, FieldPort, FieldValue, Quality, RegisterType } from '../modbus/field.js'
import type { ModbusMetrics } from '../modbus/field-metrics.js'
import type { DevicePlan } from '../poller/device-plan.js'
import type { PollingMetrics } from '../poller/poll-metrics.js'
import type { ErrorCode } from '../support/error-codes.js'

/**
 * What the sidecar needs of the product. It knows nothing else: the kernel implements this, tests do too. A part that
 * this installation does not have is left out; its paths then answer with a stable code (`DATABASE_UNAVAILABLE` for what
 * is kept in the database, `NOT_AVAILABLE` for the rest).
 */
export interface SidecarServices {
  readonly config: Config
  readonly version: string
  /** The application's own tables, as `ctx.db` of handlers. */
  readonly db?: AppDatabase
  /** Everything, in words. `status` 503 is derived from it, see {@link HealthReport}. */
  health(): HealthReport | Promise<HealthReport>
  /** Configuration loaded, subscriptions granted, workers ready. */
  ready(): ReadyReport | Promise<ReadyReport>
  readonly field: FieldPort
  readonly devices: DeviceService
  readonly targets: TargetService
  /** Many changes at once. */
  readonly plant?: PlantService
  readonly cache: CacheService
  readonly metrics: MetricsService
  readonly routes?: () => readonly RouteView[]
  readonly workers?: WorkerService
  readonly dead?: DeadLetterService
  readonly buses?: () => readonly BusView[]
  /** How a device is polled just now. Throws DEVICE_UNKNOWN. */
  readonly devicePlan?: (deviceId: string) => DevicePlanView
  /** What polling takes of the bus of a device; undefined where nothing polls there. */
  readonly busLoad?: (deviceId: string) => BusLoadView | undefined
  readonly readings?: ReadingService
  readonly events?: (query: EventQuery, signal?: AbortSignal) => Promise<Page<EventView>>
  readonly audit?: (query: AuditQuery, signal?: AbortSignal) => Promise<Page<AuditView>>
  /** Changes of values and states as they happen, for `/api/stream`. Returns what ends the subscription. */
  readonly live?: (listener: (event: LiveEvent) => void) => () => void
  /** API keys kept in the database, besides those of the configuration. */
  readonly keys?: KeyService
}

export type ServiceState = 'ok' | 'warning' | 'error' | 'disconnected' | 'disabled'

export interface HealthReport {
  /**
   * `degraded` means 503: the database or the broker is away, or a gateway or worker process cannot work. A device that
   * is off is a `warning` of its service and the status stays `ok`.
   */
  readonly status: 'ok' | 'degraded'
  readonly services: {
    readonly database: ServiceState
    readonly mqtt: ServiceState
    readonly modbus: ServiceState
    readonly poller: ServiceState
    readonly workers: ServiceState
  }
  /** One sentence or a few facts for each thing worth saying. */
  readonly details: Readonly<Record<string, unknown>>
  /** Seconds since the start. */
  readonly uptime: number
}

export interface ReadyReport {
  readonly ready: boolean
  /** What was looked at, by name: `ok`, or why not. */
  readonly checks: Readonly<Record<string, string>>
}

/** Every change takes who asked, for the audit. Unknown ids reject with DEVICE_UNKNOWN. */
type DeviceFields = Partial<Omit<DeviceInput, 'device_id'>>
/** Fields that change, or what makes them of the record as it is when their turn comes. */
type DeviceChanges = DeviceFields | ((device: DeviceRecord) => DeviceFields)

export interface DeviceService {
  list(filter?: { readonly activeOnly?: boolean }): Promise<readonly DeviceRecord[]>
  get(id: string): Promise<DeviceRecord>
  /** Rejects with DEVICE_EXISTS, DEVICE_INVALID, BUS_CONFLICT. */
  create(input: DeviceInput, actor: Actor): Promise<DeviceRecord>
  /** With `wholeBus`, what changes of where its bus is and how it is used changes for all devices of the bus. */
  update(
    id: string,
    changes: DeviceChanges,
    actor: Actor,
    options?: { readonly wholeBus?: boolean },
  ): Promise<DeviceRecord>
  /** Soft: `is_active` becomes false. */
  remove(id: string, actor: Actor): Promise<void>
  activate(id: string, actor: Actor): Promise<DeviceRecord>
  /** Reads the database again; the ids of the active devices. */
  reload(actor: Actor): Promise<readonly string[]>
  gateways(): readonly GatewayView[] | Promise<readonly GatewayView[]>
}

/** One bus, as `/api/devices/gateways` lists it; more fields are welcome. `host` is the path of a serial line. */
export interface GatewayView {
  readonly host: string | null
  readonly port: number | null
  readonly connected: boolean
  readonly [fact: string]: unknown
}

export interface TargetService {
  list(filter?: { readonly activeOnly?: boolean; readonly deviceId?: string }): Promise<readonly TargetRecord[]>
  /** Rejects with TARGET_UNKNOWN. */
  get(id: number): Promise<TargetRecord>
  /** Rejects with DEVICE_UNKNOWN, TARGET_INVALID, BUS_LOAD_REFUSED (unless forced). */
  create(input: TargetInput, actor: Actor, options?: { readonly force?: boolean }): Promise<TargetRecord>
  update(
    id: number,
    changes: Partial<TargetInput>,
    actor: Actor,
    options?: { readonly force?: boolean },
  ): Promise<TargetRecord>
  remove(id: number, actor: Actor): Promise<void>
  activate(id: number, actor: Actor): Promise<TargetRecord>
}

/** Changes of devices and polling targets that belong together. */
export interface PlantChanges {
  readonly devices: {
    readonly create: readonly DeviceInput[]
    readonly update: readonly { readonly device_id: string; readonly changes: DeviceFields }[]
  }
  readonly targets: {
    readonly create: readonly TargetInput[]
    readonly update: readonly { readonly id: number; readonly changes: Partial<TargetInput> }[]
  }
}

/** How many changes there were. `unchanged` counts updates after which all is as it was. */
export interface PlantChanged {
  /** Of buses that are nearly full or overloaded with what was changed. */
  readonly warnings: readonly string[]
  readonly devices: { readonly created: number; readonly updated: number; readonly unchanged: number }
  readonly targets: { readonly created: number; readonly updated: number; readonly unchanged: number }
}

/** One change that is refused: `targets.create.3` is the fourth of that list. */
export interface RefusedChange {
  readonly change: string
  readonly code: ErrorCode
  readonly message: string
}

export interface PlantService {
  /**
   * Carries out all of them, or none: rejects with the code of the first that is refused, `details.refused` naming each
   * ({@link RefusedChange}). Devices and the load of the buses are checked as they are with all changes made.
   */
  change(
    changes: PlantChanges,
    actor: Actor,
    options?: { readonly force?: boolean; readonly dryRun?: boolean },
  ): Promise<PlantChanged>
}

export interface CacheService {
  /** The live entries, newest value each; all devices, or those of one. */
  entries(deviceId?: string): readonly CacheEntry[]
  /** Drops all entries and says how many there were. */
  clear(actor: Actor): number | Promise<number>
}

/** `key` is `device:type:address:count`, `cached_at` ISO 8601 UTC. */

export interface MetricsService {
  snapshot(): MetricsSnapshot
  reset(actor: Actor): void | Promise<void>
  /** The text of `/metrics`: this process and, merged, its workers. */
  prometheus(): Promise<string>
  /** Called once for each answered request; `route` is the pattern, never the path. */
  observeHttp?(request: HttpObservation): void
}

export interface HttpObservation {
  readonly method: string
  readonly route: string
  readonly status: number
  readonly seconds: number
}

/** `/api/metrics`, as REST users of Modbus gateways know it. */
export interface MetricsSnapshot {
  readonly modbus: ModbusMetrics
  readonly cache: CacheMetrics
  readonly polling: PollingMetrics
}

export interface RouteView {
  readonly name: string | null
  readonly topic: string
  readonly filter: string
  readonly qos: 0 | 1 | 2
  readonly shared: boolean
  readonly [fact: string]: unknown
}

export interface WorkerView {
  readonly name: string
  readonly pid: number | null
  readonly state: string
  readonly restarts: number
  readonly [fact: string]: unknown
}

export interface WorkerService {
  list(): readonly WorkerView[]
  /** One worker by name, or all in turn; resolves when they serve again. Rejects with WORKER_UNKNOWN. */
  restart(name: string | undefined, actor: Actor): Promise<readonly WorkerView[]>
  /** The number of slots; resolves when they serve. */
  scale(slots: number, actor: Actor): Promise<readonly WorkerView[]>
}

export interface BusView {
  readonly id: string
  readonly connected: boolean
  readonly devices: readonly string[]
  /** Its devices by id. */
  readonly device_states?: Readonly<Record<string, DeviceStateView>>
  readonly [fact: string]: unknown
}

export interface DeviceStateView {
  /** `standby`: another installation owns the bus. */
  readonly state: 'unknown' | 'online' | 'offline' | 'conflict' | 'standby'
  readonly reason?: string
}

/** Milliseconds of a round trip on its bus; null before the first answer. */
export type DevicePlanView = DevicePlan & { readonly measured_round_trip_ms: number | null }

export interface BusLoadView {
  /** Of the time of the bus. */
  readonly percent: number
  /** A sentence where that is over 80 %, or where an answer may come too late. */
  readonly warning: string | null
}

export interface DeadLetterView {
  readonly id: string
  readonly route: string
  readonly topic: string
  readonly error: { readonly code: string; readonly message: string }
  readonly attempts: number
  /** ISO 8601 UTC. */
  readonly failed_at: string
  /** Base64; only where one letter is shown. */
  readonly payload?: string
  readonly [fact: string]: unknown
}

export interface DeadLetterService {
  list(query: { readonly limit: number; readonly route?: string }): Promise<readonly DeadLetterView[]>
  /** Rejects with DEAD_LETTER_UNKNOWN, as do the next two. */
  show(id: string): Promise<DeadLetterView>
  /** Runs it again; past its deadline only with `force`, else COMMAND_EXPIRED. */
  retry(id: string, options: { readonly force: boolean }, actor: Actor): Promise<void>
  forget(id: string, actor: Actor): Promise<void>
}

/** A page and the cursor of the next one; null on the last. */
export interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface ReadingQuery {
  readonly device_id?: string
  readonly point?: string
  readonly register_type?: RegisterType
  readonly address?: number
  /** ISO 8601 with its zone, to the microsecond, inclusive. */
  readonly from?: string
  /** Exclusive. */
  readonly to?: string
  /** Exactly this one. */
  readonly value?: number | boolean | string
  readonly quality?: Quality
  readonly min?: number
  readonly max?: number
  /** At most 1,000. */
  readonly limit: number
  readonly cursor?: string
}

export interface ReadingView {
  readonly device_id: string
  readonly point: string | null
  /** Of a raw block: its registers or bits. */
  readonly value: FieldValue | readonly (number | boolean)[]
  readonly quality: string
  /** ISO 8601 UTC. */
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export interface BucketQuery {
  readonly device_id: string
  readonly point: string
  /** ISO 8601 with its zone, to the microsecond, inclusive. */
  readonly from: string
  /** Exclusive. @default now */
  readonly to?: string
  /** Width in milliseconds, or one calendar day in `tz`. */
  readonly bucket: number | 'day'
  /** IANA name. @default UTC */
  readonly tz: string
}

export interface BucketView {
  /** ISO 8601 UTC. */
  readonly start: string
  /** ISO 8601 UTC: the start of the following bucket. */
  readonly end: string
  readonly device_id: string
  readonly point: string
  readonly count: number
  readonly avg: number | null
  readonly min: number | null
  readonly max: number | null
  readonly last: FieldValue
}

export interface ReadingService {
  /** Newest first. The signal is aborted when nobody waits for the answer any more. */
  page(query: ReadingQuery, signal?: AbortSignal): Promise<Page<ReadingView>>
  /** Oldest first, at most 1,000; those without a number are left out. */
  buckets?(query: BucketQuery, signal?: AbortSignal): Promise<readonly BucketView[]>
}

export interface EventQuery {
  readonly device_id?: string
  readonly kind?: string
  readonly from?: string
  readonly to?: string
  readonly limit: number
  readonly cursor?: string
}

export interface EventView {
  readonly kind: string
  readonly device_id: string | null
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export interface AuditQuery {
  readonly device_id?: string
  readonly from?: string
  readonly to?: string
  readonly limit: number
  readonly cursor?: string
}

export interface AuditView {
  readonly actor: Actor
  readonly action: string
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export type LiveEvent =
  | { readonly type: 'value'; readonly device_id: string; readonly [fact: string]: unknown }
  | { readonly type: 'state'; readonly device_id: string | null; readonly [fact: string]: unknown }

export const KEY_SCOPES = ['read', 'write', 'admin'] as const
/** Each contains the ones before it. */
export type KeyScope = (typeof KEY_SCOPES)[number]

/** An API key as it is kept: the key itself is shown once, at its creation, and never stored. */
export interface ApiKeyRecord {
  /** First characters of the key, its name in lists and logs. */
  readonly prefix: string
  /** SHA-256 of the whole key, hex. */
  readonly hash: string
  readonly name: string
  readonly scope: KeyScope
  /** ISO 8601 UTC. */
  readonly created_at: string
  /** ISO 8601 UTC; null: never. */
  readonly expires_at: string | null
  readonly revoked_at: string | null
}

export interface KeyService {
  /** True once there is a key, until the last one is revoked; an expired one counts. Then the sidecar asks for credentials. */
  any(): boolean
  /** By prefix, from memory; undefined where there is none. */
  find(prefix: string): ApiKeyRecord | undefined
  list(): Promise<readonly ApiKeyRecord[]>
  add(record: ApiKeyRecord, actor: Actor): Promise<void>
  /** Rejects with KEY_UNKNOWN. */
  revoke(prefix: string, actor: Actor): Promise<void>
}
