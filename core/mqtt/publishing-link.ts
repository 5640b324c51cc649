import type { IPublishPacket, MqttClient } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import type { CallOptions } from '../router/context.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { BrokerLink, type LinkState } from './broker-link.js'
import { Calls } from './calls.js'
import type { LinkStatus, ProtocolVersion } from './connect-options.js'
import type { Connection } from './connection.js'
import type { PublishOptions, ValueMessage, ValuePublisher } from './message.js'
import { Presence } from './presence.js'
import { checkPublish, checkTopic } from './publish-check.js'
import {
  type Publication,
  type PublishLimits,
  PublishWindow,
  type Replay,
  type Returned,
  wireOptions,
} from './publish-window.js'
import { valueFrames } from './value-frames.js'

/** Where publishes of QoS 1 and 2 go while the broker is away; see `Outbox`. */
export interface PublishStore {
  /** Resolves when the entry is durable; rejects with PUBLISH_OVERLOADED at its bound. */
  put(publication: Publication, returned?: Returned): Promise<void>
  /** Entries that wait; while there are some, new publishes queue behind them to stay in order. */
  readonly size: number
  /** The broker is there: hands entries to `send` in order, each removed when `send` resolves. */
  online(send: (publication: Publication, replay: Replay) => Promise<void>): void
  offline(): void
}

export interface PublishingLinkOptions {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  /** Retained topic that says whether this process is there; the offline text is its last will too. */
  readonly status?: LinkStatus
  /** Without one, publishes are refused with BROKER_UNAVAILABLE while the broker is away. */
  readonly outbox?: PublishStore
  readonly logger: Logger
  readonly clock?: Clock
  readonly random?: () => number
  readonly limits?: Partial<PublishLimits>
  /** The client id was taken by somebody else, or the configuration cannot work: the link has stopped. */
  readonly onFatal?: (error: RouteMQError) => void
}

export interface PublishingLinkStats {
  readonly published: number
  /** QoS 0 publishes dropped while the broker was away or the socket was full. */
  readonly dropped: number
  readonly pending: number
  readonly calls: number
}

const LIMITS: PublishLimits = { inFlight: 1_000, waiting: 20_000, waitingBytes: 64 * 1_048_576, graceMs: 10_000 }
/** Bytes a socket may hold unsent before QoS 0 is dropped. */
const SOCKET_BYTES = 16 * 1_048_576
/** How long a value waits for others at most, and how many do: each write wakes the broker and all it hands them to. */
const GATHER_MS = 5
const GATHER_MOST = 2_000

/** The link a process publishes with: clean session, never paused, nothing a handler awaits comes over a lane. */
export class PublishingLink implements ValuePublisher {
  readonly #options: PublishingLinkOptions
  readonly #clock: Clock
  readonly #link: BrokerLink
  readonly #window: PublishWindow
  readonly #calls: Calls
  /** Only where the status says who we are. */
  readonly #presence: Presence | undefined
  readonly #listeners = new Set<(state: LinkState) => void>()
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  readonly #draining = new Set<() => void>()
  /** Values that wait for others. */
  #values: ValueMessage[] = []
  #cancelGathering = () => {}
  #published = 0
  #dropped = 0

  constructor(options: PublishingLinkOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#window = new PublishWindow({ ...LIMITS, ...options.limits }, this.#clock)
    this.#calls = new Calls(options.clientId, this.#clock)
    this.#presence = options.status === undefined ? undefined : new Presence(options.clientId)
    this.#link = new BrokerLink({
      config: options.config,
      url: options.url,
      clientId: options.clientId,
      clean: true,
      status: options.status,
      logger: options.logger,
      clock: options.clock,
      random: options.random,
      prepare: (client) => this.#prepare(client),
      onUp: (connection) => this.#up(connection),
      onDown: () => this.#down(),
      onState: (state) => {
        for (const listener of this.#listeners) listener(state)
      },
      onFatal: (error) => {
        this.#window.close(error)
        this.#calls.close(error)
        options.onFatal?.(error)
      },
    })
  }

  get state(): LinkState {
    return this.#link.state
  }

  /** Version of MQTT in use; while not connected, the one that is tried next. */
  get protocol(): ProtocolVersion {
    return this.#link.protocol
  }

  stats(): PublishingLinkStats {
    return {
      published: this.#published,
      dropped: this.#dropped,
      pending: this.#window.pending,
      calls: this.#calls.waiting,
    }
  }

  /** Calls the listener on every change. Returns how to stop that. */
  onState(listener: (state: LinkState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Resolves when first connected. With `keepTrying` the link goes on in the background after the rejection.
   *
   * @throws BROKER_UNAVAILABLE when `limitMs` passed or the credentials were refused, CLIENT_ID_IN_USE, CONFIG_INVALID.
   */
  start(options: { readonly limitMs?: number; readonly keepTrying?: boolean } = {}): Promise<void> {
    this.#starting ??= this.#start(options.limitMs ?? 10_000, options.keepTrying ?? false).catch(
      async (error: unknown) => {
        if (options.keepTrying !== true) await this.#link.stop()
        throw error
      },
    )
    return this.#starting
  }

  /** Says offline, disconnects. What waits is rejected, or stays in the outbox. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async publish(topic: string, payload: Buffer | string, options: PublishOptions = {}): Promise<void> {
    checkPublish(topic, payload, this.#options.config.maxPacketBytes)
    // What was published before goes before.
    if (this.#values.length > 0) this.#sendValues()
    if (this.#stopping !== undefined) throw new RouteMQError('SHUTTING_DOWN', 'the publishing link is stopped')
    if (options.qos === 0) return this.#publishQos0({ topic, payload, options })
    const publication = { topic, payload, options }
    const { outbox } = this.#options
    // Until the window has given back what was on its way, nothing newer may be kept before that.
    if (outbox !== undefined && (!this.#window.attached || outbox.size > 0)) return outbox.put(publication)
    if (!this.#window.attached) throw this.#unavailable()
    return this.#send(publication)
  }

  /** @throws TOPIC_INVALID */
  publishValues(values: readonly ValueMessage[]): void {
    for (const { topic } of values) checkTopic(topic)
    if (this.#values.length === 0) this.#cancelGathering = this.#clock.after(GATHER_MS, () => this.#sendValues())
    for (const value of values) this.#values.push(value)
    if (this.#values.length >= GATHER_MOST) this.#sendValues()
  }

  /**
   * Publishes a request and resolves with the decoded answer.
   *
   * @throws CALL_TIMEOUT, BROKER_UNAVAILABLE, PAYLOAD_TOO_LARGE, TOPIC_INVALID, or the error that the other side answered with.
   */
  async call(topic: string, payload: unknown, options: CallOptions = {}): Promise<unknown> {
    checkTopic(topic)
    // There the answer is listened for.
    if (this.#link.protocol === 4) checkTopic(`${topic}/response`)
    return this.#calls.call(topic, payload, options, async (publication) => {
      checkPublish(topic, publication.payload, this.#options.config.maxPacketBytes)
      return publication.options.qos === 0 ? this.#publishQos0(publication) : this.#send(publication)
    })
  }

  #start(limitMs: number, keepTrying: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let last: Error | undefined
      const settle = (error?: Error) => {
        stopListening()
        cancel()
        if (error === undefined) resolve()
        else reject(error)
      }
      const stopListening = this.onState((state) => {
        if (state.name === 'connected') settle()
        else if (state.name === 'failed') settle(state.error)
        else if (state.name === 'waiting') {
          last = state.error
          // Waiting does not mend a wrong password.
          if (!keepTrying && last instanceof RouteMQError && last.details?.refused === true) settle(last)
        } else if (state.name === 'stopped') settle(new RouteMQError('SHUTTING_DOWN', 'the link was stopped'))
      })
      const cancel = this.#clock.after(limitMs, () =>
        settle(last instanceof RouteMQError ? last : this.#unavailable(last)),
      )
      this.#link.start()
    })
  }

  async #stop(): Promise<void> {
    const { status, outbox } = this.#options
    outbox?.offline()
    this.#sendValues()
    const { connection } = this.#link
    if (connection !== undefined && status !== undefined) {
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(1_000, resolve)
        // Where it fails the last will says the same.
        Promise.race([this.#sayStatus(connection, status.offline), connection.closed]).finally(() => {
          cancel()
          resolve()
        })
      })
    }
    const error = new RouteMQError('SHUTTING_DOWN', 'the publishing link was stopped')
    this.#window.close(error)
    this.#calls.close(error)
    await this.#link.stop()
  }

  #prepare(client: MqttClient): void {
    client.handleMessage = (packet: IPublishPacket, done) => {
      if (this.#presence?.received(packet) !== true) this.#calls.received(packet)
      done()
    }
  }

  async #up(connection: Connection): Promise<void> {
    const { status, outbox } = this.#options
    this.#calls.attach(connection.client)
    this.#presence?.attach(connection.client)
    this.#window.attach(connection.client, connection.server)
    if (status !== undefined) await this.#sayStatus(connection, status.online)
    outbox?.online((publication, replay) => this.#send(publication, replay))
  }

  /** Straight to the wire: a status is never repeated on a later connection. A refusal is reported, not fatal. */
  #sayStatus({ client }: Connection, text: string): Promise<void> {
    const { status, logger } = this.#options
    return new Promise((resolve) => {
      client.publish(status!.topic, text, { qos: 1, retain: true }, (error) => {
        if (error) logger.warn({ error, topic: status!.topic }, 'the broker did not take the status message')
        resolve()
      })
    })
  }

  #down(): void {
    const { outbox, logger } = this.#options
    outbox?.offline()
    this.#calls.detach()
    if (this.#window.detach()) this.#link.lossIsExplained()
    for (const resolve of this.#draining) resolve()
    this.#draining.clear()
    if (outbox === undefined) return
    for (const { publication, acceptedAt, resolve, reject } of this.#window.takePending()) {
      outbox.put(publication, { acceptedAt }).then(resolve, (error: Error) => {
        logger.warn({ error, topic: publication.topic }, 'a publish that was on its way could not be kept')
        reject(error)
      })
    }
  }

  #send(publication: Publication, replay?: Replay): Promise<void> {
    this.#published += 1
    return this.#window.publish(publication, replay)
  }

  async #publishQos0({ topic, payload, options }: Publication): Promise<void> {
    const client = this.#link.connection?.client
    if (client === undefined || client.stream.writableLength > SOCKET_BYTES) {
      this.#dropped += 1
      return
    }
    this.#published += 1
    await new Promise<void>((resolve) => {
      // The callback waits for `drain` where the socket is full, which paces those who await; a loss ends the wait.
      this.#draining.add(resolve)
      client.publish(topic, payload, wireOptions(options, client), () => {
        this.#draining.delete(resolve)
        resolve()
      })
    })
  }

  #sendValues(): void {
    const values = this.#values
    if (values.length === 0) return
    this.#cancelGathering()
    this.#values = []
    const connection = this.#link.connection
    const stream = connection?.client.stream
    if (connection === undefined || stream?.writable !== true || stream.writableLength > SOCKET_BYTES) {
      this.#dropped += values.length
      return
    }
    const { bytes, count } = valueFrames(values, connection.protocol, connection.server.maximumPacketSize)
    this.#published += count
    this.#dropped += values.length - count
    // Straight to the stream, past the library: it writes whole packets in one turn, so this falls between two of them.
    stream.write(bytes)
  }

  #unavailable(cause?: Error): RouteMQError {
    return new RouteMQError(
      'BROKER_UNAVAILABLE',
      'there is no connection to the broker',
      cause === undefined ? {} : { cause },
    )
  }
}
