import type { WorkerStats } from './protocol.js'
import type { HeldSession } from './session-book.js'

/** A worker process is in exactly one of these states; each owns only its own facts. */
export type WorkerState =
  | { readonly name: 'starting'; readonly since: number }
  | { readonly name: 'ready'; readonly since: number; readonly sessions: readonly HeldSession[] }
  | { readonly name: 'stopping'; readonly since: number }
  | { readonly name: 'waiting'; readonly since: number; readonly retryInMs: number; readonly reason: string }
  | { readonly name: 'stopped' }

export interface WorkerReport {
  readonly name: string
  readonly pid: number | undefined
  readonly state: WorkerState['name']
  readonly reason?: string
  /** Times this seat was started again after a death. */
  readonly restarts: number
  readonly uptime_seconds: number
  readonly subscriptions: readonly string[]
  readonly stats: WorkerStats | undefined
}
