import type { Clock } from '../../support/clock.js'

/** Waits between two attempts, which end early when something has changed. Each has an end of its own: several may wait. */
export class Pauses {
  readonly #clock: Clock
  readonly #ms: number
  readonly #waiting = new Set<() => void>()

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** @param unref true where the process need not wait for it */
  wait(unref = false): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel()
        this.#waiting.delete(end)
        resolve()
      }
      const cancel = this.#clock.after(this.#ms, end, { unref })
      this.#waiting.add(end)
    })
  }

  /** Ends all that wait now. */
  end(): void {
    for (const end of [...this.#waiting]) end()
  }
}
