import type { AppDatabase } from '../database/app-tables.js'
import type { FieldPort } from '../modbus/field.js'
import type { MessageProperties, PublishOptions } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { Route } from './route.js'

export type ParamValue = string | number | boolean
export type Params = Readonly<Record<string, ParamValue>>

/** The MQTT facts of a message, without its payload. */
export interface MessageFacts {
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: MessageProperties
  /** Wall clock at arrival, milliseconds since the epoch. */
  readonly receivedAt: number
}

/** What a handler may ask of the process it runs in; the delivery engine makes one per (message, route). */
export interface Context<P extends object = Params, B = unknown> {
  /** Values of the pattern's parameters, converted to their types. */
  readonly params: P
  /** Decoded and validated payload. Middleware may replace it (authentication removes the credential). */
  payload: B
  /** The bytes as they came, or as a middleware left them. */
  raw: Buffer
  readonly topic: string
  readonly message: MessageFacts
  readonly route: Route
  /** Which try this is, from 1. */
  readonly attempt: number
  /** Wall clock milliseconds after which nothing may be driven any more; undefined when the command does not age. */
  readonly deadline: number | undefined
  /** Answers now instead of by returning. @throws RouteMQError HANDLER_FAILED where this try has answered already */
  reply(value: unknown): Promise<void>
  /**
   * Publishes text and Buffers as they are, everything else as JSON. Resolves when the broker has the message, or when it is
   * durably in the outbox.
   *
   * @throws RouteMQError TOPIC_INVALID, PAYLOAD_TOO_LARGE, FORBIDDEN, PUBLISH_REFUSED, PUBLISH_OVERLOADED,
   * BROKER_UNAVAILABLE, SHUTTING_DOWN
   */
  publish(topic: string, payload: unknown, options?: PublishOptions): Promise<void>
  /**
   * Publishes a request and waits for its answer on a response topic of this process.
   *
   * @throws RouteMQError CALL_TIMEOUT, what `publish` throws, SUBSCRIPTION_REFUSED where the answer may not be heard, or the
   * error that was answered
   */
  call(topic: string, payload: unknown, options?: CallOptions): Promise<unknown>
  /** Reads and writes devices, with the deadline and in the name of this message. */
  readonly devices: FieldPort
  /**
   * The application's own tables (kysely), typed by what it adds to `AppTables`. Queries reject with DATABASE_UNAVAILABLE
   * while the database is away, and where there is none.
   */
  readonly db: AppDatabase
  /** Says with each line which route, topic and request it is about. */
  readonly log: Logger
  /** Aborts when the route's time limit passes or the process must go. */
  readonly signal: AbortSignal
  /** Free for middleware to hand facts to handlers. */
  readonly state: Record<string, unknown>
  /** Runs `work` after the message was acknowledged. A failure is logged and changes nothing else. */
  terminate(work: () => unknown): void
}

export interface CallOptions {
  /** How long an answer is waited for, milliseconds. @default 5000 */
  readonly timeout?: number
  /** @default 1 */
  readonly qos?: 0 | 1
  /** MQTT 5 only. @default none */
  readonly userProperties?: Readonly<Record<string, string | string[]>>
}

/** What a handler returns is the reply where one is asked for; `undefined` is no reply. */
export type Handler<P extends object = Params, B = unknown> = (ctx: Context<P, B>) => unknown

/** Awaits `next()` once or not at all; resolves with what the rest of the chain returned, or with something else. */
export interface Middleware {
  (ctx: Context, next: () => Promise<unknown>): unknown
  /** What having this middleware changes about a route; read once, at `commit()`. */
  readonly marks?: RouteMarks
}

/** Facts of a route that a middleware may set; the route's own options win. */
export interface RouteMarks {
  /** A repeated message is answered from the first one's outcome. */
  readonly idempotent?: boolean
  /** Time limit of one attempt, milliseconds; the delivery engine enforces it and aborts `ctx.signal`. */
  readonly timeoutMs?: number
  /** The middleware validates the payload itself; it is not done again before the handler. */
  readonly validates?: boolean
  /**
   * It takes a credential out of the message and may run on its own: a message that has to be stored before its turn has
   * come goes through it first.
   */
  readonly authenticates?: boolean
}

/** What a file in `middleware/` exports as default: arguments after the colon in `throttle:100,60` arrive as strings. */
export interface MiddlewareFactory {
  (...args: string[]): Middleware
  /** Higher runs further outside, whatever the order it was written in. @default 0 */
  readonly priority?: number
  /** Called instead where the application runs: with what controllers may ask for (`config`, `log`, …). */
  readonly withServices?: (services: object, ...args: string[]) => Middleware
}

/** Last resort for what middleware and handler threw: returns the reply, or throws to the next one out. */
export type ErrorHandler = (error: unknown, ctx: Context) => unknown
