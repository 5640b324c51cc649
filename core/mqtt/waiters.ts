import type { Clock } from '../support/clock.js'

/** Those who wait for a condition that is looked at whenever something has changed. */
export class Waiters {
  readonly #clock: Clock
  readonly #checks = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves with true once it holds, with false when the limit passed first. */
  until(condition: () => boolean, limitMs: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    return new Promise((resolve) => {
      const settle = (outcome: boolean) => {
        cancel()
        this.#checks.delete(check)
        resolve(outcome)
      }
      const check = () => {
        if (condition()) settle(true)
      }
      const cancel = this.#clock.after(limitMs, () => settle(false))
      this.#checks.add(check)
    })
  }

  /** Something has changed. */
  wake(): void {
    if (this.#checks.size === 0) return
    for (const check of [...this.#checks]) check()
  }
}
