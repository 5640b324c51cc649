import type { Copy, Holding } from './copy.js'
import type { Parking } from './parking.js'
import { Stalls } from './stalls.js'
import type { Unit } from './unit.js'

/** A message that this many later ones wait behind with their acknowledgement is parked before `ackHold` is over: */
const PARK_BEHIND = 8
/** ...at this age where messages still come; a handler that is merely slower than its neighbours is done by then... */
const PARK_BEHIND_MS = 50
/** ...and at this age where none come any more: the broker waits for acknowledgements, and all routes with it. */
const PARK_STUCK_MS = 10

export interface HeldMessagesOptions {
  /** Milliseconds a message may hold its place on a lane. */
  readonly ackHoldMs: number
  readonly parking: Parking
  /** Parks one; never rejects. */
  readonly park: (unit: Unit) => Promise<boolean>
}

/** What is held on lanes, and when it is parked. `now` is monotonic milliseconds. */
export class HeldMessages {
  readonly #options: HeldMessagesOptions
  /** Those that held something at the last look. */
  readonly #holdings = new Set<Holding>()
  readonly #stalls = new Stalls()

  constructor(options: HeldMessagesOptions) {
    this.#options = options
  }

  /** How many there are. */
  get count(): number {
    let held = 0
    for (const holding of this.#holdings) held += holding.size
    return held
  }

  add(copy: Copy, holding: Holding): void {
    if (holding.size === 0) this.#holdings.add(holding)
    holding.add(copy)
  }

  /** Others of its fate are stuck: it need not wait for its turn to be parked. */
  isStalled(unit: Unit): boolean {
    return this.#stalls.has(unit)
  }

  /** What shares its fate need not be parked at once any more. */
  succeeded(unit: Unit): void {
    this.#stalls.delete(unit)
  }

  /** Parks what has been held for too long, or holds up too much. */
  look(now: number): void {
    const { ackHoldMs, parking } = this.#options
    if (parking.open) {
      for (const holding of this.#holdings) {
        const patience = Math.min(ackHoldMs, holding.quietSinceLastLook() ? PARK_STUCK_MS : PARK_BEHIND_MS)
        holding.visit(now, patience, (copy, heldMs, waitingBehind) => {
          if (heldMs >= ackHoldMs || waitingBehind >= PARK_BEHIND) this.#parkAll(copy, now)
        })
      }
    }
    // The session of one that was adopted never comes again.
    for (const holding of this.#holdings) if (holding.size === 0) this.#holdings.delete(holding)
    if (parking.messages === 0) this.#stalls.clear()
  }

  /** Those of one key are parked in the order in which they came, because in that order they come back. */
  park(unit: Unit, now: number): void {
    const { copy, route, fate } = unit
    if (route.orderBy !== undefined && copy !== undefined) {
      for (const older of copy.olderUnits()) {
        if (older.route !== route || older.fate !== fate || !isOnItsLane(older)) continue
        if (now < older.parkFrom || !this.#options.parking.admits(older)) return
        this.#parkOne(older)
      }
    }
    this.#parkOne(unit)
  }

  #parkAll(copy: Copy, now: number): void {
    for (const unit of copy.units) {
      if (isOnItsLane(unit) && now >= unit.parkFrom) this.park(unit, now)
    }
  }

  #parkOne(unit: Unit): void {
    this.#stalls.add(unit)
    void this.#options.park(unit)
  }
}

function isOnItsLane({ finished, released, parking }: Unit): boolean {
  return !finished && !released && parking === undefined
}
