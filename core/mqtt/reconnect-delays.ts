import { Backoff } from '../support/backoff.js'
import type { Clock } from '../support/clock.js'

/**
 * From its start until it is subscribed again, a broker that does not restore shared subscriptions (mosquitto 2.0.11)
 * acknowledges shared messages and drops them. Most outages are restarts and over within this time: until then the pause
 * between two tries is what that gap can grow by.
 */
const SHORT_OUTAGE_MS = 60_000
const SHORT_PAUSE_MS = 500
const LONG_PAUSE_MS = 30_000

/** Pauses between tries to connect: the first 100 ms, at most 500 ms in the first minute, then up to 30 s, all jittered. */
export class ReconnectDelays {
  readonly #clock: Clock
  readonly #short: Backoff
  readonly #long: Backoff
  /** Monotonic. */
  #outageSince: number | undefined

  constructor(clock: Clock, random?: (() => number) | undefined) {
    this.#clock = clock
    const own = random === undefined ? {} : { random }
    this.#short = new Backoff({ first: 100, max: SHORT_PAUSE_MS, ...own })
    this.#long = new Backoff({ first: 2 * SHORT_PAUSE_MS, max: LONG_PAUSE_MS, ...own })
  }

  next(): number {
    this.#outageSince ??= this.#clock.monotonic()
    const short = this.#clock.monotonic() - this.#outageSince < SHORT_OUTAGE_MS
    return short ? this.#short.next() : this.#long.next()
  }

  /** A connection has lasted: the next loss begins another outage. */
  reset(): void {
    this.#outageSince = undefined
    this.#short.reset()
    this.#long.reset()
  }
}
