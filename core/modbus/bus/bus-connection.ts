import { Backoff } from '../../support/backoff.js'
import { type Clock, sleep } from '../../support/clock.js'
import type { ModbusTransport } from '../transport/transport.js'

/** Exactly one of these; each state owns only its own data. */
export type BusState =
  /** Not connected and not wanted: never used yet, or closed after idling. */
  | { readonly name: 'idle' }
  | { readonly name: 'connecting' }
  /** `isProven` once a request on it ended otherwise than with the connection itself. */
  | { readonly name: 'open'; readonly isProven: boolean }
  /** Away. Polls fail at once until `retryAt`; a command tries again by itself. */
  | {
      readonly name: 'down'
      readonly cause: string
      readonly retryAt: number
      /** Connects that failed in a row; 0 where a connection just broke that may have been good. */
      readonly failedConnects: number
    }
  | { readonly name: 'stopped' }

export interface BusConnectionOptions {
  readonly createTransport: () => ModbusTransport
  readonly clock: Clock
  readonly random: () => number
  /** Milliseconds to wait before a connect, shared by all buses of a host. */
  readonly claimConnect: () => number
  /** Whether anything waits or is in flight. */
  readonly isWanted: () => boolean
  /** Whether what is in flight broke another connection before: then the end of this one says nothing about the bus. */
  readonly isBlamed: () => boolean
  readonly onState: (state: BusState) => void
  readonly onOpen: () => void
  /** The connection broke while it was wanted. */
  readonly onLost: () => void
  /** A connect failed. */
  readonly onFailed: (cause: string) => void
  /** No connect before it resolves: whoever had the line before may still be about to close it. */
  readonly predecessor?: Promise<unknown> | undefined
}

/**
 * Connections in a row that broke before they carried anything, after which they are as good as refused: converters
 * without their serial line take each connection and close it at once. A single one may have been the fault of one unit.
 */
const BROKEN_IN_A_ROW = 2

/** The connection of one bus: opened on demand, after a loss with jittered back-off, closed when it idles. */
export class BusConnection {
  readonly #options: BusConnectionOptions
  readonly #backoff: Backoff
  readonly #gone = new AbortController()
  #state: BusState = { name: 'idle' }
  #transport: ModbusTransport | undefined
  /** Connects in a row that failed, or whose connection broke unproven. */
  #failedConnects = 0
  #connecting: Promise<void> = Promise.resolve()
  #cancelIdle: (() => void) | undefined
  /** The last connection on its way out: a serial port cannot be opened before it is closed. */
  #closing: Promise<unknown>

  constructor(options: BusConnectionOptions) {
    this.#options = options
    this.#closing = options.predecessor ?? Promise.resolve()
    this.#backoff = new Backoff({ first: 100, max: 5_000, random: options.random })
  }

  get state(): BusState {
    return this.#state
  }

  /** Defined while the state is `open`. */
  get transport(): ModbusTransport | undefined {
    return this.#transport
  }

  open(timeoutMs: number): void {
    if (this.#state.name === 'connecting' || this.#state.name === 'stopped') return
    this.#setState({ name: 'connecting' })
    this.#connecting = this.#connect(timeoutMs)
  }

  /** A request was answered, or waited for in vain: the connection itself is good. */
  proved(): void {
    if (this.#state.name !== 'open' || this.#state.isProven) return
    this.#backoff.reset()
    this.#failedConnects = 0
    this.#setState({ name: 'open', isProven: true })
  }

  /** Drops a connection that is open but dead; the next request opens a fresh one. */
  abandon(transport: ModbusTransport): void {
    if (this.#transport !== transport) return
    this.#discard(transport)
    if (this.#state.name === 'open') this.#setState({ name: 'idle' })
  }

  /** Closes the connection after so long without {@link keepOpen}. */
  closeWhenIdle(afterMs: number): void {
    this.keepOpen()
    if (afterMs === 0 || this.#state.name !== 'open') return
    const close = () => {
      if (!this.#options.isWanted() && this.#transport !== undefined) this.abandon(this.#transport)
    }
    this.#cancelIdle = this.#options.clock.after(afterMs, close, { unref: true })
  }

  keepOpen(): void {
    this.#cancelIdle?.()
    this.#cancelIdle = undefined
  }

  /** No connect from here on; what is open stays for what is in flight. */
  retire(why: string): void {
    this.#setState({ name: 'stopped' })
    this.keepOpen()
    this.#gone.abort(new Error(why))
  }

  /** Resolves when nothing of it holds the line any more, a connect under way included. */
  async close(): Promise<void> {
    await this.#connecting
    if (this.#transport !== undefined) this.#discard(this.#transport)
    await this.#closing
  }

  async #connect(timeoutMs: number): Promise<void> {
    let transport: ModbusTransport | undefined
    try {
      await this.#turn()
      if (!this.#isConnecting()) return
      transport = this.#options.createTransport()
      const opening = transport
      opening.onLost((cause) => this.#lost(opening, cause))
      await opening.connect({ timeoutMs, signal: this.#gone.signal })
    } catch (error) {
      if (transport !== undefined) this.#discard(transport)
      if (this.#isConnecting()) this.#down(error instanceof Error ? error.message : String(error))
      return
    }
    if (!this.#isConnecting()) {
      this.#discard(transport)
      return
    }
    this.#transport = transport
    this.#setState({ name: 'open', isProven: false })
    this.#options.onOpen()
  }

  /** Resolves when the connection before is closed and its host may be called. */
  async #turn(): Promise<void> {
    await this.#closing
    if (!this.#isConnecting()) return
    // Claimed only now: a close that takes its time would move the connect into another second.
    const wait = this.#options.claimConnect()
    if (wait > 0) await sleep(wait, this.#gone.signal, this.#options.clock)
  }

  #isConnecting(): boolean {
    return this.#state.name === 'connecting'
  }

  #lost(transport: ModbusTransport, cause: Error): void {
    if (this.#transport !== transport || this.#state.name === 'stopped') return
    const wasProven = (this.#state.name === 'open' && this.#state.isProven) || this.#options.isBlamed()
    this.#discard(transport)
    // Many devices close what idles; with nothing waiting that is no outage.
    if (!this.#options.isWanted()) {
      this.#setState({ name: 'idle' })
      return
    }
    if (!wasProven && this.#failedConnects + 1 >= BROKEN_IN_A_ROW) {
      this.#down(cause.message)
      return
    }
    if (!wasProven) this.#failedConnects += 1
    // What waits goes out over a fresh connection, after a short jittered pause.
    const retryAt = this.#options.clock.monotonic() + this.#backoff.next()
    this.#setState({ name: 'down', cause: cause.message, retryAt, failedConnects: 0 })
    this.#options.onLost()
  }

  #down(cause: string): void {
    this.#failedConnects += 1
    const retryAt = this.#options.clock.monotonic() + this.#backoff.next()
    this.#setState({ name: 'down', cause, retryAt, failedConnects: this.#failedConnects })
    this.#options.onFailed(cause)
  }

  #discard(transport: ModbusTransport): void {
    if (this.#transport === transport) this.#transport = undefined
    // Resolves within a second whatever the peer does; a close that fails leaves nothing to be done.
    this.#closing = transport.close().catch(() => {})
  }

  #setState(state: BusState): void {
    if (this.#state.name === 'stopped') return
    this.#state = state
    this.#options.onState(state)
  }
}
