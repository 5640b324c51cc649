import type { Clock } from '../../support/clock.js'
import { afterPollTurn } from './poll-turn.js'

/**
 * One timer for the deadlines of all calls, left alone when a call ends: most end long before theirs, and a timer for each
 * would cost more than the rest of the call.
 */
export class DeadlineTimer {
  readonly #clock: Clock
  readonly #onDue: (now: number) => void
  #at = Number.POSITIVE_INFINITY
  #cancel: (() => void) | undefined

  /** @param onDue Runs at the earliest deadline, or before it; `now` is what was due by then. */
  constructor(clock: Clock, onDue: (now: number) => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  watch(deadline: number): void {
    if (this.#at <= deadline) return
    this.#cancel?.()
    this.#at = deadline
    const left = Math.max(0, deadline - this.#clock.monotonic())
    this.#cancel = this.#clock.after(left, this.#due, { unref: true })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
    this.#at = Number.POSITIVE_INFINITY
  }

  /** A process that was held up finds the time over and the answer still unread: then the gateway was late, not the unit. */
  readonly #due = (): void => {
    const now = this.#clock.monotonic()
    this.#cancel = afterPollTurn(() => {
      this.stop()
      this.#onDue(now)
    })
  }
}
