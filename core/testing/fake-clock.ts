import type { Clock } from '../support/clock.js'

interface Timer {
  readonly at: number
  readonly run: () => void
}

/** A clock that stands still until a test moves it. Timers run in order of their time, each once. */
export class FakeClock implements Clock {
  #wall: number
  #monotonic = 0
  #timers: Timer[] = []

  /** @param wall Milliseconds since the epoch. @default 2026-01-01T00:00:00Z */
  constructor(wall: number = Date.UTC(2026, 0, 1)) {
    this.#wall = wall
  }

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.#monotonic + Math.max(0, ms), run }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** Timers that have not run yet. */
  get pending(): number {
    return this.#timers.length
  }

  /** Moves time on and runs what falls due, letting promises settle between two timers. */
  async advance(ms: number): Promise<void> {
    const until = this.#monotonic + ms
    await settle()
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      // What fell due while the process stood still runs now.
      this.#moveTo(Math.max(this.#monotonic, next.at))
      next.run()
      await settle()
    }
    this.#moveTo(until)
    await settle()
  }

  /** Steps the wall clock alone, as an operator or NTP does. */
  stepWall(ms: number): void {
    this.#wall += ms
  }

  /** Time passes and no timer runs: a process that was stopped, before its event loop turns again. */
  standStill(ms: number): void {
    this.#moveTo(this.#monotonic + ms)
  }

  #moveTo(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic
    this.#monotonic = monotonic
  }
}

/** Several turns of the event loop: enough for chains of promises to run out. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
