import type { ZodType } from 'zod'
import type { BackoffOptions } from '../support/backoff.js'
import type { Context, Params } from './context.js'

export type CodecName = 'json' | 'raw' | 'text' | 'msgpack' | 'cbor'

/** A route after `commit()`: everything resolved, frozen, its middleware and handler one function. */
export interface Route {
  /** Stable across restarts and unique: the name where it has one, else the pattern. Records refer to it. */
  readonly id: string
  readonly name: string | undefined
  /** Group prefixes included: `devices/{device_id}/control`. */
  readonly pattern: string
  /** The MQTT filter it needs, without a share prefix: `devices/+/control`. */
  readonly filter: string
  /** QoS of the subscription. A route of QoS 2 is QoS 1 plus `idempotent`. */
  readonly qos: 0 | 1
  readonly idempotent: boolean
  readonly shared: boolean
  /** Processes per host that take it; 1 for plain and ordered routes. */
  readonly workers: number
  /** Messages of this route handled at a time in one process. */
  readonly concurrency: number
  readonly lane: string
  readonly maxAgeMs: number | undefined
  /** Whether retained messages run it. */
  readonly retained: boolean
  /** Parameter whose value keeps messages in order. */
  readonly orderBy: string | undefined
  readonly attempts: number
  readonly backoff: BackoffOptions
  readonly timeoutMs: number | undefined
  /** Answers on `<topic>/response` even when nobody named a response topic. */
  readonly reply: boolean
  readonly codec: CodecName | undefined
  readonly payload: ZodType | undefined
  /** Middleware as written, outermost first, for listings. */
  readonly middleware: readonly string[]
  /** `DeviceController.control` or the function's name, for listings. */
  readonly handlerName: string
  /** Router file, relative to the application. */
  readonly file: string
  /**
   * The compiled chain: error handlers around middleware around validation around the handler. The caller hands it the
   * decoded payload; validation against {@link payload} happens inside, after the middleware, because authentication
   * takes its credential out of the payload first and command schemas are strict.
   */
  readonly run: (ctx: Context) => Promise<unknown>
  /** Its authenticating middleware alone; undefined where it has none. */
  readonly screen: ((ctx: Context) => Promise<unknown>) | undefined
}

export interface Match {
  readonly route: Route
  readonly params: Params
}

/** What `commit()` hands out. */
export interface Dispatcher {
  readonly routes: readonly Route[]
  /** Every route that matches, each once, the most specific first. Cost does not grow with the number of routes. */
  match(topic: string): readonly Match[]
  /** For `route:match`: each route of a similar shape and why it does or does not run. */
  explain(topic: string): readonly { readonly route: Route; readonly matches: boolean; readonly reason: string }[]
}

/** One SUBSCRIBE of one lane, as the planner made it. */
export interface PlannedSubscription {
  /** Unique within a process, 1 and up: the MQTT 5 subscription identifier (5.0, 3.8.2.1.2). */
  readonly id: number
  /** As sent: `$share/<group>/devices/+/control` or the plain filter. */
  readonly filter: string
  readonly qos: 0 | 1
  readonly shared: boolean
  readonly lane: string
  /** `solo`, or the slots (1..n) that take it. */
  readonly slots: 'solo' | readonly number[]
  /** Ids of the routes it serves. */
  readonly routes: readonly string[]
}
