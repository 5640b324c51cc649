import type { Config, DatabaseConfig } from '../config/config.js'
import type { ClaimOutcome, StoredMessage } from '../delivery/delivery-store.js'
import type { DrainOutcome } from '../mqtt/drain-session.js'
import type { ErrorShape } from '../support/errors.js'

import type { HeldSession, SessionAge } from './session-book.js'

/** Which worker a process is: `solo` takes plain and ordered routes, `slot` 1..n shared ones, `all` everything. */
export type WorkerRole =
  | { readonly kind: 'solo' }
  | { readonly kind: 'slot'; readonly slot: number }
  | { readonly kind: 'all' }

export function workerName(role: WorkerRole): string {
  return role.kind === 'slot' ? `slot-${role.slot}` : role.kind
}

/** What a worker process needs to know to start. Carries secrets: it travels over IPC only, never in argv or env. */
export interface WorkerAssignment {
  readonly role: WorkerRole
  readonly config: Config
  readonly brokerUrl: string
  readonly durableStore: boolean
  /** Number of slots that shared routes are dealt over. */
  readonly slots: number
  /** Sessions that the broker keeps for this installation. */
  readonly held: readonly HeldSession[]
}

/** Gateway services a worker may call; each is one method of {@link GatewayServices}. */
export type ServiceMethod =
  | 'field.request'
  | 'store.deadLetter'
  | 'store.park'
  | 'store.unpark'
  | 'store.fetchParked'
  | 'store.claim'
  | 'store.complete'
  | 'store.release'
  | 'watch.begin'
  | 'watch.end'
  | 'watch.bury'
  | 'takeOver'
  | 'outbox.put'

export type ToWorker =
  | { readonly type: 'assign'; readonly assignment: WorkerAssignment }
  | { readonly type: 'answer'; readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly type: 'answer'; readonly id: number; readonly ok: false; readonly error: ErrorShape }
  /** Finish and exit 0. `keep`: the session stays at the broker (full stop); `leave`: it is drained and ended. */
  | { readonly type: 'stop'; readonly how: 'keep' | 'leave'; readonly deadlineMs: number }
  /** The user and password at the broker, or the password at the database, are others from the next connection on. */
  | {
      readonly type: 'credentials'
      readonly username: string | undefined
      readonly password: string | undefined
      readonly database: DatabaseConfig
    }
  /** The answer to `loaded`: nobody else has a session of this worker open any more. */
  | { readonly type: 'connect' }
  /** Handle what the broker keeps for a lane that is gone, and end its session. */
  | { readonly type: 'adopt'; readonly session: HeldSession }
  /** The owner of an adopted session is back: close it, without ending it. */
  | { readonly type: 'let_go'; readonly clientId: string }
  /** Finish parked messages of your routes that nobody does; another worker is gone for good. */
  | { readonly type: 'take_over' }
  /** Run one kept message again, for `dead:retry`. */
  | { readonly type: 'run'; readonly id: number; readonly message: StoredMessage; readonly force: boolean }

export type ToGateway =
  | { readonly type: 'online' }
  /** The application is loaded, and the worker waits for `connect`; what remains then may take as long as the broker is away. */
  | { readonly type: 'loaded' }
  /** The process turns; sent once a second while nothing else is. */
  | { readonly type: 'alive' }
  | { readonly type: 'ready'; readonly sessions: readonly HeldSession[] }
  /** Whether every lane is subscribed; sent whenever that changes after `ready`. */
  | { readonly type: 'serving'; readonly serving: boolean }
  /** Sessions that were drained and ended on leaving. */
  | { readonly type: 'left'; readonly clientIds: readonly string[] }
  /** The session of `adopt` is drained and ended, or its owner is back, or what is left stays where it is. */
  | { readonly type: 'adopted'; readonly clientId: string; readonly outcome: DrainOutcome }
  | { readonly type: 'failed'; readonly error: ErrorShape }
  | { readonly type: 'call'; readonly id: number; readonly method: ServiceMethod; readonly args: readonly unknown[] }
  | { readonly type: 'cancel'; readonly id: number }
  | { readonly type: 'stats'; readonly stats: WorkerStats }
  | { readonly type: 'ran'; readonly id: number; readonly outcome: ClaimOutcome }

/** What a worker reports about itself once a second. */
export interface WorkerStats {
  readonly connected: boolean
  readonly memoryMb: number
  readonly delivery: Readonly<Record<string, unknown>>
  readonly lanes: readonly Readonly<Record<string, unknown>>[]
  readonly ages: readonly SessionAge[]
}
