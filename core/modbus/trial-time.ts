/** Every so many trials wait the whole time-out: a unit may have become slow. */
const PATIENT_EVERY = 16

/**
 * How long a caller's request waits for a unit that seems dead: as long as a poll does, or twice as long as the unit was seen to take.
 * The whole time-out of those who wait is often ten seconds, which the neighbours on the bus would pay.
 */
export class TrialTime {
  #slowestMs: number | undefined
  #trials = 0

  /** A read or write on demand was answered; what was slow once is forgotten little by little. */
  answered(roundTripMs: number): void {
    this.#slowestMs = Math.max(roundTripMs, (this.#slowestMs ?? 0) * 0.95)
    this.#trials = 0
  }

  /** Whether the unit ever answered, so that one knows how long it takes. */
  get isKnown(): boolean {
    return this.#slowestMs !== undefined
  }

  began(): void {
    this.#trials += 1
  }

  /** Milliseconds the next trial may take. */
  next(wholeMs: number, pollMs: number): number {
    return (this.#trials + 1) % PATIENT_EVERY === 0 ? wholeMs : this.brief(wholeMs, pollMs)
  }

  /** Milliseconds after which silence says enough about a unit. */
  brief(wholeMs: number, pollMs: number): number {
    return Math.min(wholeMs, Math.max(pollMs, 2 * (this.#slowestMs ?? 0)))
  }
}
