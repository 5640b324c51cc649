import { Fifo } from '../mqtt/fifo.js'

/** A line in which each name has its turn after the other, however many stand in it under one of them. */
export class FairLine<T> {
  readonly #lines = new Map<string, Fifo<T>>()
  #length = 0

  get length(): number {
    return this.#length
  }

  push(name: string, item: T): void {
    this.#length += 1
    const line = this.#lines.get(name)
    if (line !== undefined) {
      line.push(item)
      return
    }
    const fresh = new Fifo<T>()
    fresh.push(item)
    this.#lines.set(name, fresh)
  }

  /** The oldest of the next name that `may` go; undefined where none may. */
  shift(may: (name: string) => boolean): T | undefined {
    for (const [name, line] of this.#lines) {
      if (!may(name)) continue
      const item = line.shift()
      this.#length -= 1
      // Its turn is over: behind all others.
      this.#lines.delete(name)
      if (line.length > 0) this.#lines.set(name, line)
      return item
    }
    return undefined
  }
}
