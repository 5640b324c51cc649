/** Exactly one of these. Times are monotonic milliseconds. */
export type BreakerState =
  | { readonly name: 'closed'; readonly failures: number }
  | { readonly name: 'open'; readonly retryAt: number }
  | { readonly name: 'half_open'; readonly probing: boolean }

/**
 * Fails callers of a dead device fast: after `failures` in a row it is open for `recoveryMs`, then one request is let
 * through to try. On the monotonic clock, which is why no library's is used. Polls do not count here; they have
 * their quarantine.
 */
export class Breaker {
  readonly #failures: number
  readonly #recoveryMs: number
  #state: BreakerState = { name: 'closed', failures: 0 }

  constructor(options: { readonly failures: number; readonly recoveryMs: number }) {
    this.#failures = options.failures
    this.#recoveryMs = options.recoveryMs
  }

  get state(): BreakerState {
    return this.#state
  }

  /** Milliseconds until the next try is let through; 0 where a request may go now. */
  retryAfter(now: number): number {
    const state = this.#state
    switch (state.name) {
      case 'closed':
        return 0
      case 'open':
        return Math.max(0, state.retryAt - now)
      case 'half_open':
        return state.probing ? this.#recoveryMs : 0
    }
  }

  /** Claims the way through; false means fail fast. Whoever got true reports back by one of the three below. */
  tryPass(now: number): boolean {
    if (this.retryAfter(now) > 0) return false
    if (this.#state.name !== 'closed') this.#state = { name: 'half_open', probing: true }
    return true
  }

  succeed(): void {
    this.#state = { name: 'closed', failures: 0 }
  }

  fail(now: number): void {
    const failures = this.#state.name === 'closed' ? this.#state.failures + 1 : this.#failures
    this.#state =
      failures >= this.#failures ? { name: 'open', retryAt: now + this.#recoveryMs } : { name: 'closed', failures }
  }

  /** The request told nothing about the device: it never got there. */
  abstain(now: number): void {
    if (this.#state.name === 'half_open') this.#state = { name: 'open', retryAt: now }
  }
}
