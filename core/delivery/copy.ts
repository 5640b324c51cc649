import type { ReplyTurn } from './reply-turn.js'
import type { Unit } from './unit.js'

/** One message as a lane handed it over, until every route it runs has settled or is parked. */
export class Copy {
  readonly units: Unit[] = []
  /** Set where more than one route runs. */
  turn: ReplyTurn | undefined
  /** Monotonic milliseconds of the arrival, as exact as the watch ticks... */
  readonly heldSince: number
  /** ...and exactly, where a route's deadline counts from it. */
  arrivedAt: number | undefined
  readonly sequence: number
  older: Copy | undefined
  newer: Copy | undefined
  readonly #holding: Holding
  #settle: () => void
  #open = 0
  #after: (() => void)[] | undefined

  constructor(holding: Holding, settle: () => void, heldSince: number) {
    this.#holding = holding
    this.#settle = settle
    this.heldSince = heldSince
    this.sequence = holding.nextSequence
  }

  get settled(): boolean {
    return this.#open === 0
  }

  add(unit: Unit): void {
    this.units.push(unit)
    this.#open += 1
  }

  /** Of what came before it on its lane and is held there, oldest first. */
  *olderUnits(): Generator<Unit> {
    for (const copy of this.#holding.before(this)) yield* copy.units
  }

  /** A unit has settled or is parked: its place on the lane is no longer needed. */
  leave(): void {
    this.#open -= 1
    if (this.#open > 0) return
    this.#holding.remove(this)
    this.#settle()
    // Through it a parked message would keep what the lane keeps of it until then: its payload.
    this.#settle = () => {}
    for (const run of this.#after ?? []) run()
  }

  /** Runs after the acknowledgement, at once when that has been given. */
  afterwards(run: () => void): void {
    if (this.settled) {
      run()
      return
    }
    this.#after ??= []
    this.#after.push(run)
  }
}

/** The unsettled messages of one lane in the order of their arrival. */
export class Holding {
  #oldest: Copy | undefined
  #newest: Copy | undefined
  #size = 0
  #sequence = 0
  #seen = 0

  /** True where nothing has arrived since the last time it was asked. */
  quietSinceLastLook(): boolean {
    const quiet = this.#seen === this.#sequence
    this.#seen = this.#sequence
    return quiet
  }

  get size(): number {
    return this.#size
  }

  get nextSequence(): number {
    return this.#sequence
  }

  *before(last: Copy): Generator<Copy> {
    for (let copy = this.#oldest; copy !== undefined && copy !== last; ) {
      const { newer } = copy
      yield copy
      copy = newer
    }
  }

  add(copy: Copy): void {
    this.#sequence += 1
    this.#size += 1
    copy.older = this.#newest
    if (this.#newest === undefined) this.#oldest = copy
    else this.#newest.newer = copy
    this.#newest = copy
  }

  remove(copy: Copy): void {
    if (copy.older === undefined) this.#oldest = copy.newer
    else copy.older.newer = copy.newer
    if (copy.newer === undefined) this.#newest = copy.older
    else copy.newer.older = copy.older
    this.#size -= 1
    // A parked message outlives its place here: through it, everything that came later would stay in memory.
    copy.older = undefined
    copy.newer = undefined
  }

  /**
   * Visits what has been held for at least `minAgeMs`, oldest first, with the number of later messages that have
   * settled and wait for it with their acknowledgement (MQTT 5.0, 4.6 wants them in order).
   */
  visit(now: number, minAgeMs: number, each: (copy: Copy, heldMs: number, waitingBehind: number) => void): void {
    let rank = 0
    const size = this.#size
    const sequence = this.#sequence
    for (let copy = this.#oldest; copy !== undefined; ) {
      const heldMs = now - copy.heldSince
      if (heldMs < minAgeMs) return
      const newer: Copy | undefined = copy.newer
      const arrivedLater = sequence - 1 - copy.sequence
      const unsettledLater = size - 1 - rank
      each(copy, heldMs, arrivedLater - unsettledLater)
      rank += 1
      copy = newer
    }
  }
}
