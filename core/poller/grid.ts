import type { Clock } from '../support/clock.js'

export interface GridOptions {
  readonly clock: Clock
  /** Monotonic milliseconds of slot 0. */
  readonly origin: number
  readonly intervalMs: number
  /** Runs a slot. The next slot of the grid is skipped and counted while it has not ended. Must not reject. */
  readonly run: (slot: number, dueAt: number) => Promise<void>
  /** Slots that passed while one was running, or while the process could not run. */
  readonly onSkipped: (slots: number) => void
}

/**
 * Slot k at `origin + k * interval` on the monotonic clock: no drift, no catching up. What was missed is counted and
 * gone.
 */
export class Grid {
  readonly #options: GridOptions
  #cancel: (() => void) | undefined
  #next = 0
  #running: Promise<void> | undefined

  constructor(options: GridOptions) {
    this.#options = options
  }

  start(): void {
    if (this.#cancel !== undefined) return
    const { clock, origin, intervalMs } = this.#options
    this.#next = Math.max(0, Math.ceil((clock.monotonic() - origin) / intervalMs))
    this.#arm()
  }

  /** Resolves when the slot that runs has ended. */
  async stop(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    await this.#running
  }

  #arm(): void {
    const { clock, origin, intervalMs } = this.#options
    const wait = origin + this.#next * intervalMs - clock.monotonic()
    this.#cancel = clock.after(Math.max(0, wait), () => this.#tick())
  }

  #tick(): void {
    const { clock, origin, intervalMs, run, onSkipped } = this.#options
    const now = clock.monotonic()
    // Timers of whole milliseconds may come a little early.
    if (now < origin + this.#next * intervalMs - 1) {
      this.#arm()
      return
    }
    const slot = Math.max(this.#next, Math.floor((now - origin) / intervalMs))
    const missed = slot - this.#next
    this.#next = slot + 1
    this.#arm()
    const isBusy = this.#running !== undefined
    if (missed > 0 || isBusy) onSkipped(missed + (isBusy ? 1 : 0))
    if (isBusy) return
    this.#running = run(slot, origin + slot * intervalMs).finally(() => {
      this.#running = undefined
    })
  }
}
