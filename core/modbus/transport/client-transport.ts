import type { Logger } from '../../observability/logger.js'
import type { Clock } from '../../support/clock.js'
import { Connection } from './connection.js'
import type { Framing } from './framing.js'
import type { LineEcho } from './line-echo.js'
import type { Link } from './link.js'
import {
  type CallOptions,
  type ModbusAnswer,
  type ModbusCall,
  type ModbusTransport,
  TransportError,
  type TransportState,
} from './transport.js'

export interface ClientTransportOptions {
  /** How messages name the other end: `tcp 10.0.0.7:502`. */
  readonly name: string
  readonly framing: Framing
  /** A link for one connection. */
  readonly createLink: () => Link
  readonly maxInFlight: number
  /** These four: see {@link ConnectionOptions}. */
  readonly quietMs: number
  readonly copyMs: number
  readonly characterMs: number
  readonly echo: LineEcho
  readonly clock: Clock
  readonly logger: Logger
}

/** A {@link ModbusTransport} over any link and framing: every `connect()` makes a fresh link and a fresh client. */
export class ClientTransport implements ModbusTransport {
  readonly #options: ClientTransportOptions
  #state: TransportState = 'closed'
  #connecting: Promise<void> | undefined
  #abortConnecting: AbortController | undefined
  #link: Link | undefined
  #connection: Connection | undefined
  #onLost: ((cause: Error) => void) | undefined

  constructor(options: ClientTransportOptions) {
    this.#options = options
  }

  get state(): TransportState {
    return this.#state
  }

  get hasTransactionIds(): boolean {
    return this.#options.framing.hasTransactionIds
  }

  get maxInFlight(): number {
    return this.#options.maxInFlight
  }

  connect(options: CallOptions): Promise<void> {
    if (this.#state === 'open') return Promise.resolve()
    this.#connecting ??= this.#connect(options).finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  call(unit: number, call: ModbusCall, options: CallOptions): Promise<ModbusAnswer> {
    if (this.#connection !== undefined) return this.#connection.call(unit, call, options)
    return Promise.reject(new TransportError(`${this.#options.name} is not connected`, { kind: 'not_sent' }))
  }

  discardInput(): void {
    this.#connection?.discardInput()
  }

  onLost(listener: (cause: Error) => void): void {
    this.#onLost = listener
  }

  async close(): Promise<void> {
    this.#abortConnecting?.abort(new Error('closed'))
    await this.#connecting?.catch(() => {})
    const link = this.#link
    this.#release('closed', new Error(`${this.#options.name} was closed`))
    await link?.close()
  }

  async #connect({ timeoutMs, signal }: CallOptions): Promise<void> {
    const { name, framing, maxInFlight, quietMs, copyMs, characterMs, echo, clock, logger } = this.#options
    this.#state = 'connecting'
    const abort = new AbortController()
    this.#abortConnecting = abort
    const forward = () => abort.abort(signal?.reason)
    signal?.addEventListener('abort', forward, { once: true })
    if (signal?.aborted === true) forward()
    const link = this.#options.createLink()
    const connection = new Connection({
      link,
      framing,
      maxInFlight,
      quietMs,
      copyMs,
      characterMs,
      echo,
      name,
      clock,
      onStray: (facts) => logger.debug({ bus: name, ...facts }, 'a frame that answers no pending request was dropped'),
      onBroken: (cause) => {
        void link.close()
        this.#lost(link, cause)
      },
    })
    /** Set when the connection goes away between being opened and being known here. */
    let gone: Error | undefined
    const closed = (cause: Error) => {
      gone = cause
      this.#lost(link, cause)
    }
    try {
      await link.open({ data: (bytes) => connection.receive(bytes), closed }, timeoutMs, abort.signal)
      if (gone !== undefined) throw gone
      if (abort.signal.aborted) {
        await link.close()
        throw abort.signal.reason
      }
    } catch (cause) {
      this.#state = 'closed'
      throw new TransportError(`${name}: ${(cause as Error).message}`, { kind: 'not_sent' }, { cause })
    } finally {
      signal?.removeEventListener('abort', forward)
      this.#abortConnecting = undefined
    }
    this.#link = link
    this.#connection = connection
    this.#state = 'open'
  }

  #lost(link: Link, cause: Error): void {
    if (this.#link !== link) return
    this.#release('lost', cause)
    this.#onLost?.(cause)
  }

  #release(state: 'closed' | 'lost', cause: Error): void {
    const connection = this.#connection
    this.#link = undefined
    this.#connection = undefined
    this.#state = state
    connection?.fail(`${this.#options.name}: ${cause.message}`, { kind: 'lost' }, cause)
  }
}
