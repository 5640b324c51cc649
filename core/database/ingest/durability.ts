/** Tells when rows that were taken are durable: batches may be so in another order than they were made up. */
export class Durability {
  /** Rows taken so far, and those of them that are in a batch. */
  #taken = 0
  #batched = 0
  /** Where the batches begin that are not durable yet, or never became so. */
  readonly #open = new Set<number>()
  #waiting: { readonly end: number; readonly tell: () => void }[] = []

  take(rows: number): void {
    this.#taken += rows
  }

  /** Calls `tell` when all rows taken so far are durable. */
  whenDurable(tell: () => void): void {
    this.#waiting.push({ end: this.#taken, tell })
    this.#tell()
  }

  /** The oldest rows not in a batch yet are one now. Gives what is to be called when it is durable. */
  batch(rows: number): () => void {
    const start = this.#batched
    this.#batched += rows
    this.#open.add(start)
    return () => {
      this.#open.delete(start)
      this.#tell()
    }
  }

  #tell(): void {
    if (this.#waiting.length === 0) return
    const through = this.#open.size === 0 ? this.#batched : Math.min(...this.#open)
    const told = this.#waiting.filter(({ end }) => end <= through)
    if (told.length === 0) return
    this.#waiting = this.#waiting.slice(told.length)
    for (const { tell } of told) tell()
  }
}
