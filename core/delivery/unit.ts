import type { InboundMessage, WithheldPayload } from '../mqtt/message.js'
import type { Params } from '../router/context.js'
import type { Route } from '../router/route.js'
import type { Backoff } from '../support/backoff.js'
import type { RouteMQError } from '../support/errors.js'
import type { DeliveryContext } from './context.js'
import type { Copy } from './copy.js'
import type { ClaimOutcome } from './delivery-store.js'
import type { Queued } from './route-queue.js'

/** One (message, route): the unit of delivery. */
export class Unit implements Queued {
  message: InboundMessage
  readonly route: Route
  readonly params: Params
  /** Undefined for what came from a store instead of a lane. */
  readonly copy: Copy | undefined
  /** Its place among the routes of the message, the most specific first. */
  readonly rank: number
  readonly key: string | undefined
  pool: 'live' | 'parked' = 'live'
  slot: 'live' | 'parked' = 'live'
  place: 'waiting' | 'ready' | 'running' | 'idle' | 'gone' = 'idle'

  attempt = 1
  /** The attempt that runs now; an attempt that was given up finds another one here, or none. */
  context: DeliveryContext | undefined
  /** Monotonic milliseconds. */
  startedAt = 0
  /** Where it stands among the running; -1 while it does not run. */
  runningAt = -1
  requestId: string | number | undefined
  /** Known from the store, or once the payload was read. */
  deadline: number | undefined
  /** The same on the monotonic clock, so that a wall clock set back lets nothing run longer. */
  lapsesAt: number | undefined
  auth: unknown
  payloadHash: string | undefined
  /** What the gateway knows this run by, while it is noted there; see `Suspects`. */
  watchId: string | undefined
  /** Why it must not run any more, whatever else would be done with it. */
  condemned: RouteMQError | undefined
  /** Nobody can tell yet what its credential is worth: it is not stored, and tried again on its lane. */
  unjudged = false
  /** The bytes that may be kept. */
  raw: Buffer
  /** Why `raw` is empty although the payload was not. */
  withheld: WithheldPayload | undefined
  claimKey: string | undefined
  claimed = false
  /** It was answered from the end of an earlier copy, which did all that had to be done. */
  copied = false
  /** Set once `ctx.reply()` was called, with what it was given and by which attempt. */
  answered = false
  answeredBy: DeliveryContext | undefined
  answer: unknown
  timedOut = false
  backoff: Backoff | undefined
  /** How often it asked whether the first copy of its command has ended. */
  waits = 0
  /** Monotonic milliseconds: since when it does. */
  waitsSince: number | undefined

  parking: Promise<boolean> | undefined
  parkedId: string | undefined
  /**
   * Where its payload is: still its `own`, as it came; once it is parked `kept` in memory while it waits, in memory while it
   * is `running`, or only `stored`. Set by `Bodies`.
   */
  body: 'own' | 'kept' | 'running' | 'stored' = 'own'
  /** Of a parked message: length and CRC-32 of the stored payload, and what it takes in memory. */
  bytes = 0
  crc: number | undefined
  weight = 0
  /** Monotonic milliseconds; before then nobody asks again what its credential is worth. */
  parkFrom = 0
  /** Its place on the lane has been given back. */
  released = false
  finished = false
  /** It is kept as a dead letter. */
  lettered = false
  /** The engine itself stumbled over it. */
  broken = false
  afterwards: (() => unknown)[] | undefined
  /** Set for a dead letter that a person runs again: one attempt, its end goes here and nowhere else. */
  onEnd: ((outcome: ClaimOutcome) => void) | undefined
  force = false
  /** Its deadline is final: read from the message, or kept with it. */
  dated: boolean

  constructor(
    message: InboundMessage,
    route: Route,
    params: Params,
    origin: { readonly copy: Copy; readonly rank: number } | { readonly deadline: number | undefined },
  ) {
    this.message = message
    this.route = route
    this.params = params
    this.raw = message.payload
    if ('copy' in origin) {
      this.copy = origin.copy
      this.rank = origin.rank
      this.dated = false
    } else {
      this.copy = undefined
      this.rank = 0
      this.dated = true
      this.deadline = origin.deadline
      this.released = true
    }
    const value = route.orderBy === undefined ? undefined : params[route.orderBy]
    this.key = value === undefined ? undefined : String(value)
  }

  /** What tells whether it shares the fate of another message: its key, else its topic. */
  get fate(): string {
    return this.key ?? this.message.topic
  }
}
