/** Runs what it is given one after the other, in the order given. What fails stands in nobody's way. */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {}) // Told to whoever gave the work.
    return result
  }
}
