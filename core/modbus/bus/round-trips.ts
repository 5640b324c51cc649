import { nextPlanVersion } from '../planner/plan-version.js'
import type { ModbusAnswer } from '../transport/transport.js'

/** Bytes of a request and its answer around the data, about. */
const FRAME_BYTES = 16
const LAST_WEIGHT = 0.1
/** Of the turnaround: units of one bus may differ by far, and whoever was asked last must not decide. */
const TURNAROUND_WEIGHT = 0.02
/** What plans go by moves when it is off by a quarter, and by this much: then reads may be worth joining otherwise. */
const STALE_SHARE = 0.25
const STALE_MS = 1

/** How long requests of one bus take, smoothed. Milliseconds; undefined before the first answer. */
export class RoundTrips {
  readonly #byteMs: number
  #roundTrip: number | undefined
  #turnaround: number | undefined
  #steady: number | undefined
  #answers = 0
  #version = nextPlanVersion()

  /** @param byteMs What a byte takes on the wire */
  constructor(byteMs: number) {
    this.#byteMs = byteMs
  }

  get ms(): number | undefined {
    return this.#roundTrip
  }

  /** Without the time the bytes take: what a unit needs to begin to answer. */
  get turnaroundMs(): number | undefined {
    return this.#turnaround
  }

  /** As {@link turnaroundMs}, but it stays until that has moved by far: for plans, which are not to change all the time. */
  get steadyTurnaroundMs(): number | undefined {
    return this.#steady
  }

  /** Changes with {@link steadyTurnaroundMs}. */
  get planVersion(): number {
    return this.#version
  }

  took(ms: number, values: ModbusAnswer['values']): void {
    const data = typeof values[0] === 'boolean' ? values.length / 8 : values.length * 2
    this.#answers += 1
    this.#roundTrip = smooth(this.#roundTrip, ms, LAST_WEIGHT)
    const turnaround = Math.max(0, ms - (FRAME_BYTES + data) * this.#byteMs)
    this.#turnaround = smooth(this.#turnaround, turnaround, Math.max(TURNAROUND_WEIGHT, 1 / this.#answers))
    if (this.#steady !== undefined && !isFarFrom(this.#steady, this.#turnaround)) return
    this.#steady = this.#turnaround
    this.#version = nextPlanVersion()
  }
}

function isFarFrom(before: number, now: number): boolean {
  return Math.abs(now - before) > Math.max(STALE_MS, before * STALE_SHARE)
}

function smooth(before: number | undefined, now: number, weight: number): number {
  return before === undefined ? now : before * (1 - weight) + now * weight
}
