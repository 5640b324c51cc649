import type { MqttClient } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import { type Clock, sleep, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { brokerBack, brokerLost, noMoreTries, type OutageTeller } from './broker-outages.js'
import type { LinkStatus, ProtocolVersion } from './connect-options.js'
import { type Closing, Connection, ProtocolRefused } from './connection.js'
import { ReconnectDelays } from './reconnect-delays.js'
import { TakeoverWatch } from './takeover-watch.js'

export type LinkState =
  | { readonly name: 'idle' }
  | { readonly name: 'connecting'; readonly attempt: number }
  | {
      readonly name: 'connected'
      readonly protocol: ProtocolVersion
      readonly sessionPresent: boolean
      /** Wall clock milliseconds. */
      readonly since: number
    }
  | { readonly name: 'waiting'; readonly attempt: number; readonly retryInMs: number; readonly error: Error }
  | { readonly name: 'failed'; readonly error: RouteMQError }
  | { readonly name: 'stopped' }

export interface BrokerLinkOptions {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  readonly clean: boolean
  readonly receiveMaximum?: number
  readonly status?: LinkStatus | undefined
  readonly logger: Logger
  readonly clock?: Clock | undefined
  readonly random?: (() => number) | undefined
  /** Called on each new client object before anything can arrive. */
  readonly prepare?: (client: MqttClient) => void
  /** Called after each CONNACK; the link counts as connected when it resolves. Rejecting drops the connection. */
  readonly onUp?: (connection: Connection) => Promise<void>
  /** Counts what has come; while it grows, the broker may take its time to answer what follows a CONNACK. */
  readonly progress?: () => number
  readonly onDown?: (closing: Closing) => void
  readonly onState?: (state: LinkState) => void
  /** The link has given up for good. */
  readonly onFatal?: (error: RouteMQError) => void
}

/** A connection that lasted this long starts the back-off over. */
const STABLE_MS = 10_000
/** Limit for what follows a CONNACK: subscriptions, the status message. It begins anew while messages come. */
const SET_UP_MS = 30_000

/**
 * Keeps one client id connected: protocol choice, reconnects (see {@link ReconnectDelays}), and no fight over the client id
 * with somebody else who uses it.
 */
export class BrokerLink {
  readonly #options: BrokerLinkOptions
  readonly #clock: Clock
  readonly #takeovers: TakeoverWatch
  #state: LinkState = { name: 'idle' }
  #protocol: ProtocolVersion
  #connection: Connection | undefined
  #stop: AbortController | undefined
  #loop: Promise<void> | undefined
  #explained = false
  readonly #teller: OutageTeller
  /** From the first connection on another version of the protocol is news. */
  #wasUp = false

  constructor(options: BrokerLinkOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const { url, clientId, logger } = options
    this.#teller = { url, clientId, logger, clock: this.#clock }
    this.#takeovers = new TakeoverWatch(this.#clock)
    this.#protocol = options.config.protocol === 4 ? 4 : 5
  }

  get state(): LinkState {
    return this.#state
  }

  /** The connection while it is up. */
  get connection(): Connection | undefined {
    return this.#connection
  }

  get protocol(): ProtocolVersion {
    return this.#protocol
  }

  /** Begins to connect; the outcome shows in the state. */
  start(): void {
    if (this.#loop !== undefined) return
    this.#stop = new AbortController()
    this.#loop = this.#run(this.#stop.signal)
  }

  /** Stops for good. With a session expiry the DISCONNECT changes how long the broker keeps the session (MQTT 5). */
  async stop(options: { readonly sessionExpirySeconds?: number } = {}): Promise<void> {
    if (this.#stop === undefined) return
    this.#stop.abort(new Error('stopped'))
    await this.#connection?.end(options)
    await this.#loop
  }

  /** Drops the connection as a loss would; the link connects again. */
  async drop(error: Error): Promise<void> {
    this.#options.logger.warn({ error, clientId: this.#options.clientId }, 'the connection to the broker is dropped')
    await this.#connection?.destroy()
  }

  /** To be called from `onDown`: something else than a second owner of the client id may explain this loss. */
  lossIsExplained(): void {
    this.#explained = true
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clientId, random } = this.#options
    const delays = new ReconnectDelays(this.#clock, random)
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      this.#enter({ name: 'connecting', attempt })
      const startedAt = this.#clock.monotonic()
      let problem: Error
      try {
        const closing = await this.#connectOnce(signal)
        const upMs = this.#clock.monotonic() - startedAt
        if (signal.aborted) break
        const fatal = this.#takeovers.lost(closing, upMs, clientId, this.#explained)
        if (fatal !== undefined) return this.#fail(fatal)
        if (upMs >= STABLE_MS) delays.reset()
        attempt = 0
        problem = (closing.kind === 'lost' ? closing.error : undefined) ?? new Error('the broker closed the connection')
        brokerLost(this.#teller, problem.message, 'connection to the broker lost')
      } catch (error) {
        if (signal.aborted) break
        if (error instanceof RouteMQError && error.code === 'CONFIG_INVALID') return this.#fail(error)
        problem = error as Error
        brokerLost(this.#teller, problem.message, 'the broker cannot be reached')
      }
      const retryInMs = delays.next()
      this.#enter({ name: 'waiting', attempt, retryInMs, error: problem })
      await sleep(retryInMs, signal, this.#clock).catch(() => {})
    }
    noMoreTries(this.#teller)
    this.#enter({ name: 'stopped' })
  }

  /** Resolves when the connection is gone again; rejects when there was none. */
  async #connectOnce(signal: AbortSignal): Promise<Closing> {
    const connection = await this.#open(signal).catch((error: unknown) => {
      this.#takeovers.unreachable()
      throw error
    })
    this.#explained = false
    if (signal.aborted) {
      await connection.end()
      return { kind: 'ended' }
    }
    this.#connection = connection
    try {
      // Whatever ends the connection ends the set-up too: its answers will not come any more.
      const up = this.#within(this.#options.onUp?.(connection) ?? Promise.resolve(), connection)
      const first = await Promise.race([up.then(() => 'up' as const), connection.closed])
      if (first !== 'up') {
        up.catch(() => {}) // rejects because the connection is gone, which is reported as such
        return first
      }
      brokerBack(this.#teller)
      this.#wasUp = true
      this.#enter({
        name: 'connected',
        protocol: connection.protocol,
        sessionPresent: connection.sessionPresent,
        since: this.#clock.now(),
      })
      return await connection.closed
    } catch (error) {
      await connection.destroy()
      throw error
    } finally {
      this.#connection = undefined
      this.#options.onDown?.(await connection.closed)
    }
  }

  /** The set-up, or an error when the broker leaves it without an answer; nothing where the connection goes before. */
  #within(setUp: Promise<void>, connection: Connection): Promise<void> {
    return new Promise((resolve, reject) => {
      let cancel = () => {}
      const wait = (seen: number) => {
        cancel = this.#clock.after(SET_UP_MS, () => {
          const now = this.#options.progress?.() ?? 0
          // What the session holds comes first, and may be much.
          if (now > seen) return wait(now)
          reject(
            new RouteMQError('BROKER_UNAVAILABLE', `the broker did not answer within ${SET_UP_MS} ms of its CONNACK`),
          )
        })
      }
      wait(this.#options.progress?.() ?? 0)
      setUp.then(resolve, reject).finally(() => cancel())
      // Its timer must not hold up the end of the process.
      connection.closed.then(() => cancel())
    })
  }

  async #open(signal: AbortSignal): Promise<Connection> {
    const { config, url, clientId, clean, receiveMaximum, status, prepare } = this.#options
    const open = (protocol: ProtocolVersion) =>
      Connection.open(
        {
          config,
          url,
          clientId,
          clean,
          protocol,
          sessionExpirySeconds: config.sessionExpirySeconds,
          status,
          ...(receiveMaximum === undefined ? {} : { receiveMaximum }),
        },
        prepare,
      )
    try {
      return await open(this.#protocol)
    } catch (error) {
      if (!(error instanceof ProtocolRefused) || signal.aborted) throw error
      if (config.protocol !== 'auto') {
        throw new RouteMQError('BROKER_UNAVAILABLE', `${error.message}; MQTT_PROTOCOL asks for exactly this version`, {
          details: { refused: error.definite },
          cause: error,
        })
      }
      // The other version, tried at once. It is kept when it works; a broker that was replaced is found again this way.
      const other = this.#protocol === 5 ? 4 : 5
      try {
        const connection = await open(other)
        this.#options.logger[this.#wasUp ? 'info' : 'debug'](
          { clientId, protocol: other },
          `the broker speaks MQTT ${other === 4 ? '3.1.1' : '5'}`,
        )
        this.#protocol = other
        return connection
      } catch (second) {
        if (second instanceof ProtocolRefused) {
          throw new RouteMQError('BROKER_UNAVAILABLE', 'the broker refused both MQTT 5 and MQTT 3.1.1', {
            details: { refused: second.definite },
            cause: second,
          })
        }
        throw second
      }
    }
  }

  #fail(error: RouteMQError): void {
    noMoreTries(this.#teller)
    this.#enter({ name: 'failed', error })
    this.#options.logger.error({ clientId: this.#options.clientId, code: error.code }, error.message)
    this.#options.onFatal?.(error)
  }

  #enter(state: LinkState): void {
    this.#state = state
    this.#options.onState?.(state)
  }
}
