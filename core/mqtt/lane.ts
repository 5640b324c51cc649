import type { MqttClient } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import type { PlannedSubscription } from '../router/route.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { type ArrivalStats, Arrivals } from './arrivals.js'
import { BrokerLink, type LinkState } from './broker-link.js'
import type { Connection } from './connection.js'
import { endSessionOf311 } from './end-session.js'
import type { WindowLimits } from './intake.js'
import { LaneFilters } from './lane-filters.js'
import type { InboundMessage } from './message.js'
import { SessionDrain } from './session-drain.js'
import { type Refusal, refusedError } from './subscribing.js'
import { Waiters } from './waiters.js'

export type LaneState =
  | Exclude<LinkState, { name: 'connected' }>
  /** Every subscription is granted. */
  | Extract<LinkState, { name: 'connected' }>
  /** Connected, but the broker refused filters after a reconnect; tried again every 30 s. */
  | { readonly name: 'refused'; readonly refusals: readonly Refusal[] }

export interface LaneOptions {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  /** For logs and statistics. */
  readonly name: string
  /**
   * `heldSince` of the process that had this session before: bounds the age of what the broker kept and of what comes again.
   * Absent: unknown.
   */
  readonly lastHeldAt?: number
  readonly subscriptions: readonly PlannedSubscription[]
  /** What the session may hold from before and the lane does not want any more: unsubscribed once connected. */
  readonly retired?: readonly PlannedSubscription[]
  readonly window: WindowLimits
  /** Called in the order of arrival. `settle` is called once when the message may be acknowledged. */
  readonly onMessage: (message: InboundMessage, settle: () => void) => void
  readonly onState?: (state: LaneState) => void
  /** The lane has stopped for good: the client id is used by somebody else, or the configuration cannot work. */
  readonly onFatal?: (error: RouteMQError) => void
  readonly logger: Logger
  readonly clock?: Clock
  readonly random?: () => number
}

export interface LaneStats extends ArrivalStats {
  readonly name: string
  readonly connections: number
}

/** The topic on which a lane sends itself marks. */
export function laneTopic(clientId: string): string {
  return `routemq/lane/${clientId}`
}

/** A mark behind messages that are being handled would take the place of one. */
const ROOM_FOR_MARKS = 8
/** Of the time to leave, what is kept for handlers that run when the rest is over: a quarter, and at most this. */
const LAST_HANDLERS_MS = 2_000

/**
 * One intake link: a persistent session whose messages are acknowledged after their handlers settled, in order, with a
 * bounded window. It may pause, so nothing that a handler awaits may come over it.
 */
export class Lane {
  readonly #options: LaneOptions
  readonly #clock: Clock
  readonly #link: BrokerLink
  readonly #arrivals: Arrivals
  readonly #draining: SessionDrain
  readonly #ownTopic: string
  readonly #filters: LaneFilters
  #state: LaneState = { name: 'idle' }
  #lostAt: number | undefined
  /** The broker has answered to all that this connection began with. */
  #isSetUp = false
  /** Set while leaving: a reconnect must not subscribe again. */
  #leaving = false
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  readonly #waiters: Waiters
  #connections = 0

  constructor(options: LaneOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#waiters = new Waiters(this.#clock)
    if (options.lastHeldAt !== undefined) {
      this.#lostAt = this.#clock.monotonic() - Math.max(0, this.#clock.now() - options.lastHeldAt)
    }
    this.#ownTopic = laneTopic(options.clientId)
    this.#filters = new LaneFilters({
      name: options.name,
      ownTopic: this.#ownTopic,
      subscriptions: options.subscriptions,
      retired: options.retired ?? [],
      logger: options.logger,
      clock: this.#clock,
      isCurrent: (connection) => this.#link.connection === connection,
      onRefused: (refusals) => this.#enter({ name: 'refused', refusals }),
      onGranted: () => this.#enter(this.#link.state),
    })
    this.#arrivals = new Arrivals({
      ownTopic: this.#ownTopic,
      maxPacketBytes: options.config.maxPacketBytes,
      window: options.window,
      clock: this.#clock,
      onMessage: options.onMessage,
      onMark: (mark) => this.#draining.passed(mark),
      publishMark: (mark) => this.#publishOwn(mark),
      onSettled: () => this.#waiters.wake(),
      // A reader that paused has not seen the broker's answers to pings; they come now.
      onResume: () => this.#link.connection?.client.reschedulePing(true),
    })
    this.#draining = new SessionDrain({
      ownTopic: this.#ownTopic,
      clock: this.#clock,
      waiters: this.#waiters,
      idle: () => this.#arrivals.idle,
    })
    this.#link = new BrokerLink({
      config: options.config,
      url: options.url,
      clientId: options.clientId,
      clean: false,
      receiveMaximum: options.window.messages + ROOM_FOR_MARKS,
      logger: options.logger,
      clock: options.clock,
      random: options.random,
      prepare: (client) => this.#prepare(client),
      onUp: (connection) => this.#up(connection),
      progress: () => this.#arrivals.stats.received,
      onDown: () => this.#down(),
      onState: (state) => this.#enter(state),
      onFatal: (error) => options.onFatal?.(error),
    })
  }

  get state(): LaneState {
    return this.#state
  }

  get name(): string {
    return this.#options.name
  }

  /**
   * Wall clock milliseconds: nothing that the session holds now, queued at the broker or without an acknowledgement, reached
   * the broker earlier. Undefined when unknown. See `lastHeldAt`.
   */
  get heldSince(): number | undefined {
    const earliest = this.#link.connection === undefined ? this.#lostAt : this.#earliest()
    return earliest === undefined ? undefined : this.#clock.now() - (this.#clock.monotonic() - earliest)
  }

  get clientId(): string {
    return this.#options.clientId
  }

  stats(): LaneStats {
    return { name: this.#options.name, ...this.#arrivals.stats, connections: this.#connections }
  }

  /**
   * Resolves when the broker granted every subscription. With `keepTrying` the lane goes on in the background after a
   * rejection for want of a broker.
   *
   * @throws SUBSCRIPTION_REFUSED naming the filters, BROKER_UNAVAILABLE after `limitMs`, CLIENT_ID_IN_USE, CONFIG_INVALID.
   */
  start(options: { readonly limitMs?: number; readonly keepTrying?: boolean } = {}): Promise<void> {
    this.#starting ??= this.#start(options.limitMs ?? 10_000, options.keepTrying ?? false)
    return this.#starting
  }

  /**
   * Hands nothing on any more and waits until everything that was handed on has settled and is acknowledged. What the
   * broker has sent beyond that stays in the session.
   *
   * @returns false when the deadline passed first.
   */
  async drain(deadlineMs: number): Promise<boolean> {
    this.#arrivals.close()
    const idle = await this.#waiters.until(() => this.#arrivals.idle, deadlineMs)
    this.#arrivals.flush()
    return idle
  }

  /** Disconnects; the broker keeps the session and queues what comes. */
  stop(): Promise<void> {
    this.#stopping ??= this.#close({})
    return this.#stopping
  }

  /**
   * Ends the session without losing what it holds: unsubscribes, sends a sentinel to an own topic, drains until that
   * arrives, then tells the broker to forget the session.
   *
   * @returns false when the deadline passed first: what was handed on has been let finish and is acknowledged where that was
   * possible, and the session is kept, for somebody to drain it later.
   */
  async leave(deadlineMs: number): Promise<boolean> {
    const lastMs = Math.min(LAST_HANDLERS_MS, deadlineMs / 4)
    const deadline = this.#clock.monotonic() + deadlineMs - lastMs
    const left = () => Math.max(0, deadline - this.#clock.monotonic())
    const filters = this.#options.subscriptions.map(({ filter }) => filter)
    this.#leaving = true
    for (;;) {
      // A connection that has just gone counts as one until the link knows: to try it again at once would go on for ever.
      const isUp = () => this.#link.state.name === 'connected' && this.#link.connection?.isClosed === false
      const up = await this.#waiters.until(() => isUp() || this.#finished || this.#stopping !== undefined, left())
      const { connection } = this.#link
      if (!up || this.#finished || this.#stopping !== undefined || left() === 0) break
      if (connection !== undefined && (await this.#draining.run(connection, filters, left))) {
        // It was stopped meanwhile: the session is not ours to end any more.
        if (this.#stopping !== undefined) break
        this.#arrivals.flush()
        await this.#endSession(connection)
        return true
      }
    }
    // What runs would run once more in whoever drains the session.
    if (this.#link.connection !== undefined && this.#stopping === undefined) await this.drain(lastMs)
    await this.stop()
    return false
  }

  /** Instead of `start()`: opens the session without subscribing, drains it and ends it. See `drainSession`. */
  adopt(deadlineMs: number): Promise<boolean> {
    this.#leaving = true
    this.#link.start()
    return this.leave(deadlineMs)
  }

  async #start(limitMs: number, keepTrying: boolean): Promise<void> {
    this.#link.start()
    const settled = await this.#waiters.until(
      () =>
        this.#filters.granted ||
        this.#finished ||
        this.#state.name === 'refused' ||
        (!keepTrying && this.#state.name === 'waiting' && refusedCredentials(this.#state.error)),
      limitMs,
    )
    if (this.#filters.granted) return
    const state = this.#state
    if (!keepTrying || state.name === 'refused') await this.stop()
    if (state.name === 'failed') throw state.error
    if (state.name === 'refused') throw refusedError(this.#options.name, state.refusals)
    if (state.name === 'waiting' && state.error instanceof RouteMQError) throw state.error
    throw new RouteMQError(
      'BROKER_UNAVAILABLE',
      settled ? 'the lane was stopped' : `lane "${this.#options.name}" had no connection within ${limitMs} ms`,
    )
  }

  /** Monotonic; nothing in the session reached the broker earlier. Undefined when unknown. */
  #earliest(): number | undefined {
    const queuedMs = this.#arrivals.freshness.queuedAtMostMs()
    if (queuedMs === undefined) return undefined
    const now = this.#clock.monotonic()
    const earliest = Math.min(now - queuedMs, this.#arrivals.oldestBornAt ?? now)
    return Number.isFinite(earliest) ? earliest : undefined
  }

  get #finished(): boolean {
    return this.#state.name === 'failed' || this.#state.name === 'stopped'
  }

  #prepare(client: MqttClient): void {
    this.#isSetUp = false
    this.#arrivals.open(client, () => !this.#isSetUp)
    // Queued messages may come in one piece with the CONNACK, before anybody who awaits the connection runs.
    client.once('packetreceive', (packet) => {
      if (packet.cmd !== 'connack') return
      if (!packet.sessionPresent) this.#arrivals.forget()
      this.#arrivals.freshness.connected(packet.sessionPresent, this.#lostAt)
    })
    // A paused stream hides the broker's answers to our pings: while paused, we keep pinging and do not give up.
    const giveUp = client.onKeepaliveTimeout.bind(client)
    client.onKeepaliveTimeout = () => {
      if (!this.#arrivals.paused) return giveUp()
      client.sendPing()
      client.reschedulePing(true)
    }
  }

  async #up(connection: Connection): Promise<void> {
    this.#connections += 1
    // After every CONNACK: a broker may answer "session present" and yet have forgotten (mosquitto 2.0.11 does for $share).
    const [ownRefusal, refusals] = await Promise.all([
      this.#filters.askForOwn(connection),
      this.#leaving ? [] : this.#filters.ask(connection),
    ])
    if (connection.isClosed) throw new Error('the connection was lost while subscribing')
    this.#isSetUp = true
    // After the new filters are granted, so that a message that matches both is never without one.
    if (!this.#leaving) this.#filters.dropRetired(connection)
    if (ownRefusal === undefined) this.#arrivals.freshness.usable()
    else {
      this.#options.logger.warn(
        { lane: this.#options.name, filter: this.#ownTopic, reason: ownRefusal.reason },
        'the broker refuses the own topic of a lane: the age of queued messages stays unknown, and sessions cannot be drained',
      )
    }
    this.#filters.judge(refusals, connection)
  }

  #down(): void {
    this.#lostAt = this.#earliest()
    this.#filters.lost()
    this.#arrivals.lost()
  }

  #publishOwn(text: string): void {
    const client = this.#link.connection?.client
    // Before the link counts as connected it is the client under preparation that sends.
    if (client?.connected === true) client.publish(this.#ownTopic, text, { qos: 1 }, () => {})
  }

  async #endSession(connection: Connection): Promise<void> {
    const { protocol } = connection
    this.#stopping ??= this.#close({ sessionExpirySeconds: 0 })
    await this.#stopping
    if (protocol !== 5) await endSessionOf311(this.#options)
  }

  async #close(options: { readonly sessionExpirySeconds?: number }): Promise<void> {
    this.#filters.stop()
    this.#arrivals.close()
    this.#arrivals.flush()
    this.#arrivals.discard()
    await this.#link.stop(options)
    this.#arrivals.freshness.disconnected()
    this.#waiters.wake()
  }

  #enter(state: LaneState): void {
    // Set-up reports what was refused; the link's own "connected" must not hide it.
    if (state.name === 'connected' && this.#state.name === 'refused' && !this.#filters.granted) return
    this.#state = state
    this.#options.onState?.(state)
    this.#waiters.wake()
  }
}

function refusedCredentials(error: Error): boolean {
  return error instanceof RouteMQError && error.details?.refused === true
}
