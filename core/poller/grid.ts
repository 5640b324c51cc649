import type { Clock } from '../support/clock.js'
import type { Alarms } from './alarms.js'

export interface GridOptions {
  readonly clock: Clock
  readonly alarms: Alarms
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
  /** When the next slot is due; undefined while the grid stands still. */
  #alarmAt: number | undefined
  #next = 0
  #running: Promise<void> | undefined

  constructor(options: GridOptions) {
    this.#options = options
  }

  start(): void {
    if (this.#alarmAt !== undefined) return
    const { clock, origin, intervalMs } = this.#options
    this.#next = Math.max(0, Math.ceil((clock.monotonic() - origin) / intervalMs))
    this.#arm()
  }

  /** Resolves when the slot that runs has ended. */
  async stop(): Promise<void> {
    if (this.#alarmAt !== undefined) this.#options.alarms.cancel(this.#alarmAt, this.#tick)
    this.#alarmAt = undefined
    await this.#running
  }

  #arm(): void {
    const { alarms, origin, intervalMs } = this.#options
    this.#alarmAt = origin + this.#next * intervalMs
    alarms.set(this.#alarmAt, this.#tick)
  }

  readonly #tick = (): void => {
    // Stopped by another one that began at the same moment.
    if (this.#alarmAt === undefined) return
    const { clock, origin, intervalMs, run, onSkipped } = this.#options
    const slot = Math.max(this.#next, Math.floor((clock.monotonic() - origin) / intervalMs))
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
