import type { BusJob } from './bus-job.js'
import type { BusSettings } from './bus-request.js'

/** How long units take to carry out a broadcast before the next request (Serial Line V1.02, 2.4.1). */
const BROADCAST_TURNAROUND_MS = 100

/** The silence that a bus keeps between two requests. Times are monotonic milliseconds. */
export class Spacing {
  readonly #broadcasts: boolean
  #lastDone = Number.NEGATIVE_INFINITY
  #lastUnit: number | undefined

  /** @param broadcasts Whether unit 0 is everybody */
  constructor(broadcasts: boolean) {
    this.#broadcasts = broadcasts
  }

  ended(unit: number, now: number): void {
    this.#lastDone = now
    this.#lastUnit = unit
  }

  /** Until when the bus keeps silent before `job`. */
  before(job: BusJob, { silenceMs, unitSwitchMs }: BusSettings): number {
    const isSwitch = this.#lastUnit !== undefined && this.#lastUnit !== job.unit
    const broadcast = this.#broadcasts && this.#lastUnit === 0 ? BROADCAST_TURNAROUND_MS : 0
    return this.#lastDone + Math.max(silenceMs, isSwitch ? unitSwitchMs : 0, job.request.delayMs ?? 0, broadcast)
  }
}
