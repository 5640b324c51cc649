import type { Config } from '../config/config.js'
import type { AppDatabase } from '../database/app-tables.js'
import type { FieldPort } from '../modbus/field.js'
import type {
  AuditQuery,
  AuditView,
  EventQuery,
  EventView,
  LiveEvent,
  Page,
  ReadingService,
} from './services/history.js'
import type { KeyService } from './services/keys.js'
import type {
  BusLoadView,
  BusView,
  CacheService,
  DevicePlanView,
  DeviceService,
  PlantService,
  TargetService,
} from './services/plant.js'
import type { DeadLetterService, MetricsService, RouteView, WorkerService } from './services/runtime.js'

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
