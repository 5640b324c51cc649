import type { output, ZodType } from 'zod'
import type { BackoffOptions } from '../support/backoff.js'
import type { Duration } from '../support/duration.js'
import type { Context, ErrorHandler, Handler, Middleware, Params } from './context.js'
import type { CodecName } from './route.js'

/** A middleware by name (`throttle:100,60`) or as a function. */
export type MiddlewareRef = string | Middleware

/** What a group hands down to the routes and groups inside it. */
export interface InheritedOptions {
  /** Run before the route's own, outermost first. @default none */
  readonly middleware?: readonly MiddlewareRef[]
  /** QoS of the subscription; 2 means 1 plus `idempotent`. @default 1 */
  readonly qos?: 0 | 1 | 2
  /** Taken by one worker of the share group instead of by every installation. @default false */
  readonly shared?: boolean
  /** Worker processes per host that take a shared route. @default 1 */
  readonly workers?: number
  /** The name `workers` has in RouteMQ for Python; where both are given they must agree. */
  readonly worker_count?: number
  /** Routes of one lane share a connection and a window; another name isolates them. @default default */
  readonly lane?: string
  /**
   * Messages older than this are not run: `COMMAND_EXPIRED`, or `COMMAND_AGE_UNKNOWN` where nobody can tell.
   *
   * @default messages do not age
   */
  readonly maxAge?: Duration
  /** Asked after every middleware, the innermost first; what it returns is the reply. @default the error is the reply */
  readonly onError?: ErrorHandler
}

export interface GroupOptions<Prefix extends string = string> extends InheritedOptions {
  /** Joined in front of the patterns inside with a `/`; may hold parameters. @default none */
  readonly prefix?: Prefix
  /** Put in front of the names inside as it stands: `devices.`. @default none */
  readonly name?: string
}

/** Everything that `router.on()` takes beside pattern and handler. */
export interface RouteOptions<
  Schema extends ZodType | undefined = ZodType | undefined,
  Codec extends CodecName | undefined = CodecName | undefined,
  Param extends string = string,
> extends InheritedOptions {
  /** Unique in the application; the route's id in records, replies and `router.topic()`. @default the pattern */
  readonly name?: string
  /** Messages of this route handled at a time in one process. @default 16 */
  readonly concurrency?: number
  /** Also run for retained messages. @default false */
  readonly retained?: boolean
  /** The parameter whose messages are handled in the order they came; needs `workers` 1. @default no order */
  readonly orderBy?: Param
  /** Tries before a message goes to the dead letters; one where there is no durable storage. @default 3 */
  readonly attempts?: number
  /** Delays between tries, milliseconds. @default first 100 ms, doubled, at most 30 s, up to half of it left to chance */
  readonly backoff?: BackoffOptions
  /** Time limit of one try: `HANDLER_TIMEOUT`, and `ctx.signal` aborts. @default 60 s */
  readonly timeout?: Duration
  /** Validates and types the payload, after the middleware and before the handler: `PAYLOAD_INVALID`. @default unchecked */
  readonly payload?: Schema
  /** How the payload is decoded. @default by MQTT 5 content type, else json */
  readonly codec?: Codec
  /** Answer on `<topic>/response` where the sender named no response topic. @default false */
  readonly reply?: boolean
  /** A message that comes again is answered from the first one's outcome. @default false; true with `qos: 2` */
  readonly idempotent?: boolean
}

/** What a handler receives as payload: the schema's output, else what the codec gives, else unknown. */
export type PayloadOf<Schema, Codec> = Schema extends ZodType
  ? output<Schema>
  : Codec extends 'text'
    ? string
    : Codec extends 'raw'
      ? Buffer
      : unknown

/** A controller class; the router makes one instance a process and hands it the services it names in `inject`. */
export type ControllerClass<T extends object = object> = new (services: never) => T

/** Methods of `T` that take the context of a route with these parameters and this payload. */
export type ActionOf<T, P extends object, B> = {
  [K in keyof T]: T[K] extends (...args: infer Args) => unknown
    ? [Context<P, B>] extends Args
      ? K
      : [] extends Args
        ? K
        : never
    : never
}[keyof T] &
  string

export type ControllerAction<T extends object, P extends object, B> = readonly [
  controller: ControllerClass<T>,
  method: ActionOf<T, P, B>,
]

export type RouteHandler<P extends object = Params, B = unknown, T extends object = object> =
  | Handler<P, B>
  | ControllerAction<T, P, B>
