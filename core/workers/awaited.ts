/** Answers that a worker process owes, by key. When the process is gone, each is what stands for "it never came". */
export class Awaited<K, T> {
  readonly #open = new Map<K, (answer: T) => void>()
  readonly #lost: T

  constructor(lost: T) {
    this.#lost = lost
  }

  get lost(): T {
    return this.#lost
  }

  /** Resolves with the answer; `ask` sends the question. */
  for(key: K, ask: () => void): Promise<T> {
    return new Promise((resolve) => {
      this.#open.set(key, resolve)
      ask()
    })
  }

  answer(key: K, answer: T): void {
    const resolve = this.#open.get(key)
    this.#open.delete(key)
    resolve?.(answer)
  }

  /** The process is gone. */
  lose(): void {
    for (const key of [...this.#open.keys()]) this.answer(key, this.#lost)
  }
}
