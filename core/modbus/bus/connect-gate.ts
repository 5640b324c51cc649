import type { Clock } from '../../support/clock.js'

/** Longer than the second that is meant: timers and networks bring what was a second apart closer together. */
const PERIOD_MS = 1_100

/** Spreads connects: at most ten a second to one host, so that a gateway that restarts is not run over. */
export class ConnectGate {
  readonly #clock: Clock
  readonly #perSecond: number
  readonly #granted = new Map<string, number[]>()

  constructor(clock: Clock, perSecond = 10) {
    this.#clock = clock
    this.#perSecond = perSecond
  }

  /** Claims the next connect to `host`. Milliseconds to wait before making it. */
  claim(host: string): number {
    const now = this.#clock.monotonic()
    const recent = (this.#granted.get(host) ?? []).filter((at) => at > now - PERIOD_MS)
    const blocking = recent.at(-this.#perSecond)
    const at = blocking === undefined ? now : Math.max(now, blocking + PERIOD_MS)
    recent.push(at)
    this.#granted.set(host, recent)
    return at - now
  }
}
