export interface BackoffOptions {
  /** First delay in milliseconds. @default 100 */
  readonly first?: number
  /** No delay exceeds this. @default 30_000 */
  readonly max?: number
  /** Growth from one delay to the next. @default 2 */
  readonly factor?: number
  /** Share of a delay that is random, 0 to 1: a delay lies between `(1 - jitter) * d` and `d`. @default 0.5 */
  readonly jitter?: number
  readonly random?: () => number
}

/** Exponential back-off with jitter. `next()` gives the delay in milliseconds; `reset()` starts over. */
export class Backoff {
  readonly #options: Required<BackoffOptions>
  #attempt = 0

  constructor(options: BackoffOptions = {}) {
    this.#options = { first: 100, max: 30_000, factor: 2, jitter: 0.5, random: Math.random, ...options }
  }

  next(): number {
    const { first, max, factor, jitter, random } = this.#options
    const whole = Math.min(max, first * factor ** this.#attempt)
    this.#attempt += 1
    return whole * (1 - jitter * random())
  }

  reset(): void {
    this.#attempt = 0
  }
}
