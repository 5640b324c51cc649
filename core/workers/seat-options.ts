import type { DatabaseConfig, MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import type { RouteMQError } from '../support/errors.js'
import type { WorkerAssignment, WorkerRole } from './protocol.js'
import type { GatewayServices } from './services.js'
import type { SessionBook } from './session-book.js'
import type { TakeLine } from './worker-lines.js'

export type Credentials = Pick<MqttConfig, 'username' | 'password'> & { readonly database: DatabaseConfig }

/** What every seat of a supervisor is given. */
export interface SeatOptions {
  /** The module a worker process runs, and the node flags it needs to load it and the application. */
  readonly entry: string
  readonly execArgv: readonly string[]
  readonly args: readonly string[]
  /** What the gateway does for the worker of that name. */
  readonly services: (worker: string) => GatewayServices
  /** A worker process is gone, by itself (`died`) or because it was told to; what it held in the gateway is to be handed on. */
  readonly onLost: (worker: string, end: { readonly died: boolean }) => void
  /** Asked when a process is up; may wait until the gateway's own services are. */
  readonly assignment: (role: WorkerRole, slots: number) => Promise<WorkerAssignment>
  readonly book: SessionBook
  readonly memoryLimitMb: number | undefined
  /** A worker that says nothing for so long is killed; 0 never. */
  readonly stallMs: number
  /** A process that has not loaded the application by then is stuck. @default 60,000 */
  readonly bootLimitMs?: number
  /** Takes what worker processes write, line by line. @default they write to the streams of this process */
  readonly onLine?: TakeLine | undefined
  readonly logger: Logger
  readonly clock: Clock
  readonly onChange?: () => void
  /** A worker said something that must end the whole product (CLIENT_ID_IN_USE). */
  readonly onFatal: (error: RouteMQError) => void
}

/** What a seat asks the supervisor. */
export interface SeatSurroundings {
  readonly slots: () => number
  /** Resolves when no other worker has a session of this seat open. */
  readonly sessionsReturned: () => Promise<void>
  /** Puts a new process in this seat, after whatever change is under way. */
  readonly replace: (deadlineMs: number) => Promise<void>
}
