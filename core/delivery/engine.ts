import type { AppDatabase } from '../database/app-tables.js'
import type { FieldPort } from '../modbus/field.js'
import { encodePayload } from '../mqtt/codec.js'
import type { InboundMessage, Publisher, PublishOptions } from '../mqtt/message.js'
import { checkPublish } from '../mqtt/publish-check.js'
import { routesByCopy } from '../mqtt/subscription-planner.js'
import type { Logger } from '../observability/logger.js'
import type { CallOptions } from '../router/context.js'
import type { Dispatcher, Match, PlannedSubscription, Route } from '../router/route.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Bodies, type BodyLimits } from './bodies.js'
import { Copy, Holding } from './copy.js'
import { DeadLetters } from './dead-letters.js'
import type { DeathWatch } from './death-book.js'
import type { ClaimOutcome, DeliveryStore, ParkedHead, StoredMessage } from './delivery-store.js'
import { HeldMessages } from './held-messages.js'
import { Leftovers } from './leftovers.js'
import { Parking, type ParkingLimits } from './parking.js'
import { Replies } from './replies.js'
import { ReplyTurn } from './reply-turn.js'
import { RouteQueue } from './route-queue.js'
import { Runner } from './runner.js'
import { DeliveryStats, type DeliveryStatsReport } from './stats.js'
import { fromStored } from './stored.js'
import { Suspects } from './suspects.js'
import { Unit } from './unit.js'

/** How often held messages and time limits are looked at while something is in flight. */
const WATCH_MS = 10

export interface CallingPublisher extends Publisher {
  /** Publishes a request and resolves with the decoded answer; CALL_TIMEOUT without one. */
  call(topic: string, payload: unknown, options?: CallOptions): Promise<unknown>
}

export interface DeliveryConfig {
  readonly replyPrefixes: readonly string[]
  /** Milliseconds a message may hold its place on a lane before it is parked. */
  readonly ackHoldMs: number
  readonly maxPacketBytes: number
  /** Whether announcements of dead letters carry the payload. @default false */
  readonly deadLetterPayload?: boolean
}

export interface DeliveryEngineOptions {
  readonly dispatcher: Dispatcher
  readonly publisher: CallingPublisher
  readonly field: FieldPort
  readonly store: DeliveryStore
  readonly logger: Logger
  readonly clock?: Clock
  readonly config: DeliveryConfig
  /** The application's tables; nothing is opened before a handler asks. */
  readonly db?: () => AppDatabase
  readonly random?: () => number
  readonly parking?: Partial<ParkingLimits & BodyLimits>
  /** Told what comes again before it runs, so that a message that ends its process is found out. */
  readonly watch?: DeathWatch | undefined
}

const noDatabase = (): never => {
  throw new RouteMQError('DATABASE_UNAVAILABLE', 'There is no database here')
}

/** Takes messages from lanes, runs every route that matches, and says when a message may be acknowledged. */
export class DeliveryEngine {
  readonly #options: DeliveryEngineOptions
  readonly #clock: Clock
  readonly #stats = new DeliveryStats()
  readonly #queues = new Map<Route, RouteQueue<Unit>>()
  readonly #held: HeldMessages
  readonly #parking: Parking
  readonly #bodies: Bodies
  readonly #leftovers: Leftovers
  readonly #runner: Runner
  readonly #stopping = new AbortController()
  #idle: (() => void)[] = []
  /** Monotonic milliseconds, as exact as the watch ticks: asking the clock for every message would cost more. */
  #now = 0
  #watch: (() => void) | undefined
  #stopped = false

  constructor(options: DeliveryEngineOptions) {
    this.#options = options
    const {
      dispatcher,
      publisher,
      store,
      logger,
      config,
      field,
      db = noDatabase,
      parking,
      random = Math.random,
      watch,
    } = options
    const clock = options.clock ?? systemClock
    const stats = this.#stats
    this.#clock = clock
    const bodies = new Bodies(store, parking)
    this.#bodies = bodies
    this.#parking = new Parking({ store, bodies, logger, clock, stats, limits: parking })
    this.#held = new HeldMessages({
      ackHoldMs: config.ackHoldMs,
      parking: this.#parking,
      park: (unit) => this.#runner.park(unit),
    })
    const letters = new DeadLetters({
      store,
      publisher,
      logger,
      clock,
      random,
      stats,
      withPayload: config.deadLetterPayload ?? false,
    })
    this.#leftovers = new Leftovers({ store, letters, logger, clock, stop: this.#stopping.signal })
    this.#runner = new Runner({
      queueOf: (route) => this.#queueOf(route),
      services: {
        field,
        logger,
        db,
        publish: (topic, payload, publishOptions) => this.#publish(topic, payload, publishOptions),
        call: (topic, payload, callOptions) => publisher.call(topic, payload, callOptions),
      },
      store,
      replies: new Replies({ dispatcher, publisher, prefixes: config.replyPrefixes, logger, clock, stats }),
      letters,
      parking: this.#parking,
      bodies,
      suspects: watch === undefined ? undefined : new Suspects(watch, logger),
      stats,
      logger,
      clock,
      random,
      maxPacketBytes: config.maxPacketBytes,
      onFinished: (unit, ok) => this.#onFinished(unit, ok),
      onQuiet: () => this.#tellIfQuiet(),
    })
  }

  /**
   * What a lane calls with each message it takes. `settle` is called exactly once, when every route that the message
   * runs has settled or is parked; never after {@link stop}.
   */
  intake(subscriptions: readonly PlannedSubscription[]): (message: InboundMessage, settle: () => void) => void {
    const holding = new Holding()
    const allowed = routesByCopy(subscriptions)
    return (message, settle) => {
      if (this.#stopped) return
      const matches = pick(this.#options.dispatcher.match(message.topic), allowed(message))
      if (matches.length === 0) {
        this.#stats.count('unrouted')
        return settle()
      }
      this.#accept(message, matches, holding, settle)
    }
  }

  /** Finishes messages that were parked before a restart, in their order. Call it before the lanes start. */
  resume(parked: readonly ParkedHead[]): void {
    for (const stored of parked) {
      const unit = this.#restore({ ...stored, payload: '' })
      if (unit === undefined) {
        this.#leftovers.add(stored)
        continue
      }
      unit.attempt = stored.attempt
      unit.pool = 'parked'
      this.#parking.adopt(unit, stored)
      this.#enqueue(unit)
    }
  }

  /**
   * Runs a kept message once more, one attempt, and resolves with its end. `force` runs it past its deadline and after
   * an unknown outcome. Rejects with ROUTE_UNKNOWN when its route is gone.
   */
  run(stored: StoredMessage, { force = false }: { readonly force?: boolean } = {}): Promise<ClaimOutcome> {
    if (this.#stopped) return Promise.reject(new RouteMQError('SHUTTING_DOWN', 'the process is stopping'))
    const unit = this.#restore(stored)
    if (unit === undefined) {
      return Promise.reject(
        new RouteMQError('ROUTE_UNKNOWN', `no route ${stored.route} takes ${stored.topic} any more`, {
          details: { route: stored.route, topic: stored.topic },
        }),
      )
    }
    return new Promise((resolve) => {
      unit.force = force
      unit.onEnd = resolve
      this.#enqueue(unit)
    })
  }

  /** Resolves when nothing is held on a lane, no handler and no `ctx.terminate()` work runs, or after `deadlineMs`. Parked messages stay parked. */
  drain(deadlineMs: number): Promise<void> {
    if (this.#quiet) return Promise.resolve()
    return new Promise((resolve) => {
      const cancel = this.#clock.after(deadlineMs, resolve)
      this.#idle.push(() => {
        cancel()
        resolve()
      })
    })
  }

  /** Aborts the signals of running handlers; nothing is acknowledged, retried or kept from here on. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    this.#stopping.abort()
    this.#watch?.()
    this.#runner.stop()
    this.#parking.stop()
    for (const done of this.#idle.splice(0)) done()
  }

  stats(): DeliveryStatsReport {
    return this.#stats.report({
      in_flight: this.#held.count + this.#runner.running,
      parked_now: this.#parking.messages,
      parked_bytes: this.#bodies.bytes,
    })
  }

  get #quiet(): boolean {
    return this.#held.count === 0 && this.#runner.quiet
  }

  #accept(message: InboundMessage, matches: readonly Match[], holding: Holding, settle: () => void): void {
    this.#arm()
    const copy = new Copy(holding, settle, this.#now)
    this.#held.add(copy, holding)
    if (matches.some(({ route }) => route.maxAgeMs !== undefined)) copy.arrivedAt = this.#clock.monotonic()
    if (matches.length > 1) copy.turn = new ReplyTurn(matches.length)
    for (let rank = 0; rank < matches.length; rank++) {
      const { route, params } = matches[rank]!
      copy.add(new Unit(message, route, params, { copy, rank }))
    }
    // A copy: a route that settles at once must not settle the message before the others have begun.
    for (const unit of copy.units) {
      const stalled = this.#held.isStalled(unit)
      // Its neighbours are stuck: it takes no slot from others, and to wait for ackHold would only hold up the lane.
      if (stalled) unit.pool = 'parked'
      this.#queueOf(unit.route).push(unit)
      if (stalled && !unit.finished) this.#held.park(unit, this.#now)
    }
  }

  #restore(stored: StoredMessage): Unit | undefined {
    const match = this.#options.dispatcher.match(stored.topic).find(({ route }) => route.id === stored.route)
    if (match === undefined) return undefined
    const unit = new Unit(fromStored(stored), match.route, match.params, { deadline: stored.deadline })
    if (stored.deadline !== undefined) unit.lapsesAt = this.#clock.monotonic() + (stored.deadline - this.#clock.now())
    unit.auth = stored.auth
    unit.payloadHash = stored.payloadHash
    return unit
  }

  #enqueue(unit: Unit): void {
    this.#arm()
    this.#queueOf(unit.route).push(unit)
  }

  #queueOf(route: Route): RouteQueue<Unit> {
    let queue = this.#queues.get(route)
    if (queue === undefined) {
      queue = new RouteQueue<Unit>(route.concurrency, (unit) => {
        this.#arm()
        this.#runner.start(unit, this.#now)
      })
      this.#queues.set(route, queue)
    }
    return queue
  }

  #onFinished(unit: Unit, ok: boolean): void {
    if (ok) this.#held.succeeded(unit)
    this.#tellIfQuiet()
  }

  #tellIfQuiet(): void {
    if (this.#idle.length === 0 || !this.#quiet) return
    for (const done of this.#idle.splice(0)) done()
  }

  /** Watches only while something is in flight. */
  #arm(): void {
    if (this.#watch !== undefined || this.#stopped) return
    this.#now = this.#clock.monotonic()
    this.#watch = this.#clock.after(WATCH_MS, () => this.#look())
  }

  #look(): void {
    this.#watch = undefined
    this.#now = this.#clock.monotonic()
    this.#held.look(this.#now)
    this.#runner.watch(this.#now)
    // The last that was held may have been parked while its attempt pauses: nothing finishes then.
    this.#tellIfQuiet()
    if (!this.#quiet) this.#arm()
  }

  async #publish(topic: string, payload: unknown, options: PublishOptions | undefined): Promise<void> {
    const bytes = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : encodePayload(payload, 'json')
    checkPublish(topic, bytes, this.#options.config.maxPacketBytes)
    await this.#options.publisher.publish(topic, bytes, options)
  }
}

/** The matching routes that may run on this copy of a message. */
function pick(matches: readonly Match[], allowed: ReadonlySet<string>): readonly Match[] {
  if (matches.length === 1) return allowed.has(matches[0]!.route.id) ? matches : []
  return matches.filter(({ route }) => allowed.has(route.id))
}
