import type { Clock } from '../support/clock.js'

interface Alarm {
  readonly runs: Set<() => void>
  cancel: () => void
}

/**
 * One timer for all who wait for the same moment: to wake up costs a process more than to begin a slot, and many slots begin
 * together.
 */
export class Alarms {
  readonly #clock: Clock
  readonly #set = new Map<number, Alarm>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Runs `run` once at `moment`, on the monotonic clock; where that has passed, from the event loop. */
  set(moment: number, run: () => void): void {
    const known = this.#set.get(moment)
    if (known !== undefined) {
      known.runs.add(run)
      return
    }
    const alarm: Alarm = { runs: new Set([run]), cancel: () => {} }
    this.#set.set(moment, alarm)
    this.#arm(moment, alarm)
  }

  cancel(moment: number, run: () => void): void {
    const alarm = this.#set.get(moment)
    if (alarm?.runs.delete(run) !== true || alarm.runs.size > 0) return
    alarm.cancel()
    this.#set.delete(moment)
  }

  #arm(moment: number, alarm: Alarm): void {
    const wait = Math.max(0, moment - this.#clock.monotonic())
    alarm.cancel = this.#clock.after(wait, () => {
      // Timers of whole milliseconds may come a little early.
      if (this.#clock.monotonic() < moment - 1) return this.#arm(moment, alarm)
      this.#set.delete(moment)
      for (const run of alarm.runs) run()
    })
  }
}
