import type { CacheMetrics } from '../../modbus/cache.js'
import type { Actor } from '../../modbus/field.js'
import type { ModbusMetrics } from '../../modbus/field-metrics.js'
import type { PollingMetrics } from '../../poller/poll-metrics.js'

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
