/** The process that has a worker's name now: calls of one that is gone change nothing any more. */
export class Lives {
  readonly #now = new Map<string, object>()

  /** Tells, later, whether the process that is this worker now still is. */
  of(worker: string): () => boolean {
    const life = this.#now.get(worker) ?? {}
    this.#now.set(worker, life)
    return () => this.#now.get(worker) === life
  }

  end(worker: string): void {
    this.#now.delete(worker)
  }
}
