import { BusConnection, type BusConnectionOptions, type BusState } from './bus-connection.js'

/** Time-outs in a row, with no answer from anybody between, after which a connection is opened afresh. */
export const REOPEN_AFTER = 3

/** One connection of a bus and what is going on over it. */
export interface Lane {
  readonly connection: BusConnection
  /** Requests sent and not ended yet. */
  inFlight: number
  /** Those of them that broke a connection before. */
  again: number
  /** Time-outs in a row, with no answer from anybody between. */
  silent: number
  /** Somebody answered since it was opened. */
  hasAnswered: boolean
  /** What came in since the last request may be a late answer. */
  isStale: boolean
}

export interface BusConnectionsOptions
  extends Omit<BusConnectionOptions, 'isWanted' | 'isBlamed' | 'onState' | 'onOpen' | 'onLost' | 'onFailed'> {
  /** Whether anything waits. */
  readonly isWanted: () => boolean
  readonly onState: (state: BusState) => void
  readonly onOpen: () => void
  /** A connection broke, or another one could not be opened: who waits may look again. */
  readonly onLess: () => void
  /** No connection is left and a connect failed. */
  readonly onFailed: (cause: string) => void
}

/**
 * The connections of one bus: the first is opened when it is needed, another one only when all that are open have as
 * much in flight as they may and somebody could be sent. One that cannot be opened beyond the first, as with a device that
 * takes one master only, costs nobody anything.
 */
export class BusConnections {
  readonly #options: BusConnectionsOptions
  readonly #lanes: Lane[]
  #state: BusState

  constructor(options: BusConnectionsOptions) {
    this.#options = options
    this.#lanes = [this.#create()]
    this.#state = this.#lanes[0]!.connection.state
  }

  /** `open` while any connection is, else what the first one is. */
  get state(): BusState {
    return this.#state
  }

  get inFlight(): number {
    let sum = 0
    for (const lane of this.#lanes) sum += lane.inFlight
    return sum
  }

  /** The open connection with the least in flight, of those that may take one more. */
  free(perConnection: number): Lane | undefined {
    let least: Lane | undefined
    for (const lane of this.#lanes) {
      // Nobody answers any more, nor did what went out while others were waited for. With ever more to wait for the
      // connection would never be empty, which is when it is opened afresh.
      if (lane.inFlight > 0 && lane.silent >= REOPEN_AFTER + perConnection - 1) continue
      const { transport } = lane.connection
      if (transport === undefined || lane.inFlight >= Math.min(perConnection, transport.maxInFlight)) continue
      if (least === undefined || lane.inFlight < least.inFlight) least = lane
    }
    return least
  }

  /** Whether one more connection may be opened now, of `most`. */
  mayGrow(most: number, now: number): boolean {
    if (most === 1) return false
    if (this.#lanes.some(({ connection }) => connection.state.name === 'connecting')) return false
    return this.#lanes.length < most || this.#closed(now) !== undefined
  }

  /** Opens the first connection, or one more where it is open. */
  open(timeoutMs: number, now: number): void {
    let lane = this.#lanes[0]!
    if (this.#state.name === 'open') {
      const more = this.#closed(now) ?? this.#create()
      if (!this.#lanes.includes(more)) this.#lanes.push(more)
      lane = more
    }
    lane.connection.open(timeoutMs)
  }

  keepOpen(): void {
    for (const { connection } of this.#lanes) connection.keepOpen()
  }

  closeWhenIdle(afterMs: number): void {
    for (const { connection } of this.#lanes) connection.closeWhenIdle(afterMs)
  }

  /** Closes what is open beyond `most`, each as soon as nothing is in flight on it. */
  shrinkTo(most: number): void {
    if (this.#lanes.length <= most) return
    for (const lane of this.#lanes.slice(most)) {
      if (lane.inFlight > 0) continue
      this.#lanes.splice(this.#lanes.indexOf(lane), 1)
      lane.connection.retire('the bus has fewer connections now')
      void lane.connection.close()
    }
  }

  retire(why: string): void {
    for (const { connection } of this.#lanes) connection.retire(why)
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map(({ connection }) => connection.close()))
  }

  #closed(now: number): Lane | undefined {
    return this.#lanes.find(({ connection: { state } }) => {
      return state.name === 'idle' || (state.name === 'down' && state.retryAt <= now)
    })
  }

  #create(): Lane {
    const { onOpen, onLess, onFailed, isWanted } = this.#options
    const connection = new BusConnection({
      ...this.#options,
      isWanted: () => isWanted() || lane.inFlight > 0,
      isBlamed: () => lane.again > 0,
      onState: () => this.#changed(),
      onOpen: () => {
        lane.silent = 0
        lane.hasAnswered = false
        lane.isStale = false
        onOpen()
      },
      onLost: onLess,
      onFailed: (cause) => (this.#isAway() ? onFailed(cause) : onLess()),
    })
    const lane: Lane = { connection, inFlight: 0, again: 0, silent: 0, hasAnswered: false, isStale: false }
    return lane
  }

  #isAway(): boolean {
    return this.#state.name === 'down' && this.#state.failedConnects > 0
  }

  #changed(): void {
    const open = this.#lanes.filter(({ connection }) => connection.state.name === 'open')
    const proven = open.find(({ connection: { state } }) => state.name === 'open' && state.isProven)
    const { state } = (proven ?? open[0] ?? this.#lanes[0]!).connection
    if (state === this.#state) return
    this.#state = state
    this.#options.onState(state)
  }
}
