/** Where the database is behind, rows pile up, and a batch takes up to so many times as many of them. */
const PILED = 4
/** Share of the time for a confirmation that a larger batch may be expected to take. */
const SHARE = 0.25

/** How many rows the next batch takes at most: more than usual where those before say that there is time for it. */
export class BatchSize {
  readonly #rows: number
  readonly #confirmMs: number
  #most: number

  constructor(rows: number, confirmMs: number) {
    this.#rows = rows
    this.#confirmMs = confirmMs
    this.#most = rows
  }

  get most(): number {
    return this.#most
  }

  /** A batch of `rows` was confirmed after `ms`. */
  confirmed(rows: number, ms: number): void {
    const inTime = (this.#confirmMs * SHARE * rows) / Math.max(ms, 0.001)
    this.#most = Math.floor(Math.min(this.#rows * PILED, Math.max(this.#rows, inTime)))
  }

  /** One was not confirmed in time. */
  late(): void {
    this.#most = this.#rows
  }
}
