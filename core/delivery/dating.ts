import type { Clock } from '../support/clock.js'
import { deadlineOf, latenessOf } from './deadline.js'
import { decode } from './payload.js'
import type { Unit } from './unit.js'

/** Two clocks that went alike differ by less than this. */
const CLOCK_STEP_MS = 100

/** Gives each message its deadline, once: when it first runs, or before it is kept. */
export class Dating {
  readonly #clock: Clock
  readonly #maxPacketBytes: number

  constructor(clock: Clock, maxPacketBytes: number) {
    this.#clock = clock
    this.#maxPacketBytes = maxPacketBytes
  }

  /** @throws RouteMQError COMMAND_AGE_UNKNOWN, or PAYLOAD_INVALID where its time cannot be read */
  date(unit: Unit, payload: unknown): void {
    if (unit.dated) return
    const { message, copy } = unit
    unit.deadline = deadlineOf(message, payload, unit.route.maxAgeMs)
    unit.dated = true
    if (unit.deadline === undefined) return
    // Counted from its arrival where both clocks know that: it may have waited here since.
    const [monotonic, wall] =
      copy?.arrivedAt === undefined
        ? [this.#clock.monotonic(), this.#clock.now()]
        : [copy.arrivedAt, message.receivedAt]
    unit.lapsesAt = monotonic + (unit.deadline - wall)
  }

  /** The deadline has to be known before a message is kept: when it comes back, its arrival says nothing any more. */
  dateUnread(unit: Unit): void {
    if (unit.dated) return
    let payload: unknown
    try {
      payload = decode(unit.message, unit.route, this.#maxPacketBytes)
    } catch {
      return // It will fail for this very reason when its turn comes, at whatever age.
    }
    try {
      this.date(unit, payload)
    } catch {
      // Of unknown age now, it is too old later. In this life its turn ends with the exact reason.
      unit.deadline = unit.message.receivedAt
    }
  }

  /** The deadline as the wall clock reads now. */
  deadlineNow(unit: Unit): number | undefined {
    const late = unit.force ? undefined : latenessOf(unit, this.#clock)
    if (late === undefined) return unit.deadline
    const now = this.#clock.now() - late
    return unit.deadline! - now > CLOCK_STEP_MS ? now : unit.deadline
  }
}
