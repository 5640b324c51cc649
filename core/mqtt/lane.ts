import type { IPublishPacket, MqttClient } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import type { PlannedSubscription } from '../router/route.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Acknowledgements, type Unacknowledged } from './acknowledgements.js'
import { BrokerLink, type LinkState } from './broker-link.js'
import type { Connection } from './connection.js'
import { endSessionOf311 } from './end-session.js'
import { Freshness } from './freshness.js'
import { toInbound } from './inbound.js'
import { Intake, type WindowLimits } from './intake.js'
import type { InboundMessage } from './message.js'
import { readPublishes } from './publish-reader.js'
import { needIdentifiers, type Refusal, subscribeAll } from './subscribing.js'
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

export interface LaneStats {
  readonly name: string
  readonly received: number
  readonly acknowledged: number
  /** Messages and bytes with the handlers now, and the most messages there ever were. */
  readonly inWindow: number
  readonly bytes: number
  readonly peakInWindow: number
  /** Times a full window paused the stream. */
  readonly paused: number
  /** QoS 0 messages dropped because the window stayed full. */
  readonly dropped: number
  /** Redeliveries that met the first copy still being handled, and were not handed on again. */
  readonly rejoined: number
  readonly connections: number
}

/** The topic on which a lane sends itself marks. */
export function laneTopic(clientId: string): string {
  return `routemq/lane/${clientId}`
}

/** Unacknowledged messages from which on the broker may be queueing: the smallest in-flight limit in use is about 20. */
const HOLDING_FROM = 10
/** A mark behind messages that are being handled would take the place of one. */
const ROOM_FOR_MARKS = 8
const REFUSED_RETRY_MS = 30_000

/**
 * One intake link: a persistent session whose messages are acknowledged after their handlers settled, in order, with a
 * bounded window. It may pause, so nothing that a handler awaits may come over it.
 */
export class Lane {
  readonly #options: LaneOptions
  readonly #clock: Clock
  readonly #link: BrokerLink
  readonly #intake: Intake
  readonly #freshness: Freshness
  readonly #ownTopic: string
  readonly #identify: boolean
  #state: LaneState = { name: 'idle' }
  #acks: Acknowledgements | undefined
  /** Messages the last connection left unacknowledged, by packet id. */
  #carried = new Map<number, Unacknowledged>()
  #lostAt: number | undefined
  #granted = false
  /** Set while leaving: a reconnect must not subscribe again. */
  #leaving = false
  #discarding = false
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  #cancelRetry = () => {}
  readonly #waiters: Waiters
  #sentinels = new Map<string, () => void>()
  #received = 0
  #acknowledgedBefore = 0
  #rejoined = 0
  #connections = 0

  constructor(options: LaneOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#waiters = new Waiters(this.#clock)
    if (options.lastHeldAt !== undefined) {
      this.#lostAt = this.#clock.monotonic() - Math.max(0, this.#clock.now() - options.lastHeldAt)
    }
    this.#ownTopic = laneTopic(options.clientId)
    this.#identify = needIdentifiers(options.subscriptions)
    this.#intake = new Intake(
      options.window,
      this.#clock,
      () => this.#freshness.holding(),
      // A reader that paused has not seen the broker's answers to pings; they come now.
      () => this.#link.connection?.client.reschedulePing(true),
    )
    this.#freshness = new Freshness(
      this.#clock,
      (mark) => this.#publishOwn(mark),
      () => this.#intake.paused || (this.#acks?.length ?? 0) >= HOLDING_FROM,
    )
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
    const { messages, bytes, peakMessages, pauses, dropped } = this.#intake.stats
    return {
      name: this.#options.name,
      received: this.#received,
      acknowledged: this.#acknowledgedBefore + (this.#acks?.sent ?? 0),
      inWindow: messages,
      bytes,
      peakInWindow: peakMessages,
      paused: pauses,
      dropped,
      rejoined: this.#rejoined,
      connections: this.#connections,
    }
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
    this.#intake.close()
    const idle = await this.#waiters.until(() => this.#intake.idle, deadlineMs)
    this.#acks?.flush()
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
   * @returns false when the deadline passed first: the session is kept then, for somebody to drain it later.
   */
  async leave(deadlineMs: number): Promise<boolean> {
    const deadline = this.#clock.monotonic() + deadlineMs
    const left = () => Math.max(0, deadline - this.#clock.monotonic())
    this.#leaving = true
    for (;;) {
      const connected = await this.#waiters.until(() => this.#link.state.name === 'connected' || this.#finished, left())
      const { connection } = this.#link
      if (!connected || this.#finished || left() === 0) break
      if (connection !== undefined && (await this.#drainSession(connection, left))) {
        // It was stopped meanwhile: the session is not ours to end any more.
        if (this.#stopping !== undefined) break
        this.#acks?.flush()
        await this.#endSession(connection)
        return true
      }
    }
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
        this.#granted ||
        this.#finished ||
        this.#state.name === 'refused' ||
        (!keepTrying && this.#state.name === 'waiting' && refusedCredentials(this.#state.error)),
      limitMs,
    )
    if (this.#granted) return
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
    const queuedMs = this.#freshness.queuedAtMostMs()
    if (queuedMs === undefined) return undefined
    const now = this.#clock.monotonic()
    const earliest = Math.min(now - queuedMs, this.#acks?.oldest?.bornAt ?? now)
    return Number.isFinite(earliest) ? earliest : undefined
  }

  get #finished(): boolean {
    return this.#state.name === 'failed' || this.#state.name === 'stopped'
  }

  #prepare(client: MqttClient): void {
    const acks = new Acknowledgements(client)
    this.#acks = acks
    client.handleMessage = (packet, done) => this.#arrived(acks, packet, done)
    readPublishes(client, client.handleMessage)
    // Queued messages may come in one piece with the CONNACK, before anybody who awaits the connection runs.
    client.once('packetreceive', (packet) => {
      if (packet.cmd !== 'connack') return
      if (!packet.sessionPresent) this.#carried.clear()
      this.#freshness.connected(packet.sessionPresent, this.#lostAt)
    })
    // A paused stream hides the broker's answers to our pings: while paused, we keep pinging and do not give up.
    const giveUp = client.onKeepaliveTimeout.bind(client)
    client.onKeepaliveTimeout = () => {
      if (!this.#intake.paused) return giveUp()
      client.sendPing()
      client.reschedulePing(true)
    }
  }

  async #up(connection: Connection): Promise<void> {
    this.#connections += 1
    const own: PlannedSubscription = {
      id: 0,
      filter: this.#ownTopic,
      qos: 1,
      shared: false,
      lane: this.#options.name,
      slots: 'solo',
      routes: [],
    }
    // After every CONNACK: a broker may answer "session present" and yet have forgotten (mosquitto 2.0.11 does for $share).
    const wanted = this.#leaving ? [] : this.#options.subscriptions
    const [[ownRefusal], refusals] = await Promise.all([
      subscribeAll(connection, [own], false),
      subscribeAll(connection, wanted, this.#identify),
    ])
    if (connection.isClosed) throw new Error('the connection was lost while subscribing')
    // After the new filters are granted, so that a message that matches both is never without one.
    const retired = this.#leaving ? [] : (this.#options.retired ?? []).map(({ filter }) => filter)
    if (retired.length > 0) connection.client.unsubscribe(retired)
    if (ownRefusal === undefined) this.#freshness.usable()
    else {
      this.#options.logger.warn(
        { lane: this.#options.name, filter: this.#ownTopic, reason: ownRefusal.reason },
        'the broker refuses the own topic of a lane: the age of queued messages stays unknown, and sessions cannot be drained',
      )
    }
    this.#judge(refusals, connection)
  }

  #judge(refusals: readonly Refusal[], connection: Connection): void {
    this.#granted = refusals.length === 0
    if (this.#granted) return
    this.#enter({ name: 'refused', refusals })
    this.#options.logger.error({ lane: this.#options.name, refusals }, 'the broker refused subscriptions')
    this.#cancelRetry = this.#clock.after(
      REFUSED_RETRY_MS,
      () => {
        if (this.#link.connection !== connection) return
        const again = this.#options.subscriptions.filter(({ filter }) => refusals.some((r) => r.filter === filter))
        subscribeAll(connection, again, this.#identify).then((still) => {
          if (this.#link.connection !== connection || connection.isClosed) return
          this.#judge(still, connection)
          if (still.length === 0) this.#enter(this.#link.state)
        })
      },
      { unref: true },
    )
  }

  #down(): void {
    this.#lostAt = this.#earliest()
    this.#granted = false
    this.#cancelRetry()
    this.#freshness.disconnected()
    this.#intake.disconnected()
    const acks = this.#acks
    if (acks === undefined) return
    this.#acknowledgedBefore += acks.sent
    this.#acks = undefined
    const handed = acks.close().filter((entry) => entry.handed)
    // What came before an earlier loss may not have come again yet.
    this.#carried = new Map([...this.#carried, ...handed.map((entry) => [entry.id, entry] as const)])
  }

  #arrived(acks: Acknowledgements, packet: IPublishPacket, done: (error?: Error) => void): void {
    if (this.#discarding) {
      done()
      return
    }
    const payload = packet.payload as Buffer
    if (packet.topic === this.#ownTopic) {
      this.#ownMessage(acks, packet, payload)
      done()
      return
    }
    let entry: Unacknowledged | undefined
    if (packet.qos === 1) {
      entry = this.#rejoin(packet, payload)
      if (entry !== undefined) {
        acks.arrived(entry)
        if (entry.settled) acks.settle(entry)
        done()
        return
      }
      entry = newEntry(packet, payload, false)
      acks.arrived(entry)
      if (acks.length >= HOLDING_FROM) this.#freshness.holding()
    }
    this.#received += 1
    const message = toInbound(packet, payload, this.#options.config.maxPacketBytes, this.#clock.now(), this.#freshness)
    if (entry !== undefined) {
      const waited = message.fresh ? 0 : (message.queuedAtMostMs ?? Number.POSITIVE_INFINITY)
      entry.bornAt = this.#clock.monotonic() - waited
    }
    const bytes = payload.length
    const run = () => {
      if (entry !== undefined) entry.handed = true
      this.#options.onMessage(message, this.#settler(entry, bytes))
    }
    this.#intake.admit({ bytes, droppable: packet.qos === 0, run }, done)
  }

  /**
   * A redelivery of a message whose first copy is still being handled, or is done but had no PUBACK written: the broker has
   * kept its packet id busy all along, so it is the same message and runs once. Compared all the same, for brokers that
   * restored an older state.
   */
  #rejoin(packet: IPublishPacket, payload: Buffer): Unacknowledged | undefined {
    if (this.#carried.size === 0) return undefined
    const entry = this.#carried.get(packet.messageId!)
    if (entry === undefined) return undefined
    this.#carried.delete(packet.messageId!)
    if (!packet.dup || entry.topic !== packet.topic || !entry.payload.equals(payload)) return undefined
    this.#rejoined += 1
    return entry
  }

  #settler(entry: Unacknowledged | undefined, bytes: number): () => void {
    let done = false
    return () => {
      if (done) return
      done = true
      if (entry !== undefined) {
        if (entry.owner === undefined) entry.settled = true
        else entry.owner.settle(entry)
      }
      this.#intake.release(bytes)
      this.#waiters.wake()
    }
  }

  #ownMessage(acks: Acknowledgements, packet: IPublishPacket, payload: Buffer): void {
    if (packet.qos === 1) {
      const entry = newEntry(packet, payload, true)
      acks.arrived(entry)
      acks.settle(entry)
    }
    const mark = payload.toString()
    const sentinel = this.#sentinels.get(mark)
    if (sentinel === undefined) {
      this.#freshness.received(mark)
      return
    }
    this.#sentinels.delete(mark)
    sentinel()
  }

  #publishOwn(text: string): void {
    const client = this.#link.connection?.client
    // Before the link counts as connected it is the client under preparation that sends.
    if (client?.connected === true) client.publish(this.#ownTopic, text, { qos: 1 }, () => {})
  }

  /** Resolves true when everything the session held has been handled and acknowledged. */
  async #drainSession(connection: Connection, left: () => number): Promise<boolean> {
    const filters = this.#options.subscriptions.map(({ filter }) => filter)
    if (filters.length > 0) {
      const unsubscribed = new Promise<boolean>((resolve) => {
        connection.client.unsubscribe(filters, (error) => resolve(!error))
      })
      if (!(await this.#within(unsubscribed, connection, left()))) return false
    }
    const sentinel = `sentinel-${this.#clock.now()}-${Math.random().toString(36).slice(2)}`
    const arrived = new Promise<boolean>((resolve) => this.#sentinels.set(sentinel, () => resolve(true)))
    connection.client.publish(this.#ownTopic, sentinel, { qos: 1 }, () => {})
    const drained =
      (await this.#within(arrived, connection, left())) &&
      (await this.#waiters.until(() => this.#intake.idle || connection.isClosed, left()))
    this.#sentinels.delete(sentinel)
    return drained && !connection.isClosed
  }

  /** The value, or false when the connection is lost or the time is over. */
  #within(value: Promise<boolean>, connection: Connection, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(limitMs, () => resolve(false))
      const settle = (outcome: boolean) => {
        cancel()
        resolve(outcome)
      }
      value.then(settle)
      connection.closed.then(() => settle(false))
    })
  }

  async #endSession(connection: Connection): Promise<void> {
    const { protocol } = connection
    this.#stopping ??= this.#close({ sessionExpirySeconds: 0 })
    await this.#stopping
    if (protocol !== 5) await endSessionOf311(this.#options)
  }

  async #close(options: { readonly sessionExpirySeconds?: number }): Promise<void> {
    this.#cancelRetry()
    this.#intake.close()
    this.#acks?.flush()
    // What is read from here on is not acknowledged: the broker sends it again to the next connection.
    this.#discarding = true
    this.#intake.letGo()
    await this.#link.stop(options)
    this.#freshness.disconnected()
    this.#waiters.wake()
  }

  #enter(state: LaneState): void {
    // Set-up reports what was refused; the link's own "connected" must not hide it.
    if (state.name === 'connected' && this.#state.name === 'refused' && !this.#granted) return
    this.#state = state
    this.#options.onState?.(state)
    this.#waiters.wake()
  }
}

function refusedCredentials(error: Error): boolean {
  return error instanceof RouteMQError && error.details?.refused === true
}

function refusedError(name: string, refusals: readonly Refusal[]): RouteMQError {
  const filters = refusals.map(({ filter }) => `"${filter}"`).join(', ')
  return new RouteMQError(
    'SUBSCRIPTION_REFUSED',
    `the broker refused ${filters} for lane "${name}": ${refusals[0]?.message}`,
    {
      details: { lane: name, refusals },
    },
  )
}

function newEntry(packet: IPublishPacket, payload: Buffer, own: boolean): Unacknowledged {
  return {
    id: packet.messageId!,
    topic: packet.topic,
    payload,
    bornAt: Number.NEGATIVE_INFINITY,
    settled: false,
    handed: false,
    own,
    owner: undefined,
  }
}
