/** First in, first out, without the linear cost of `Array.shift` on long queues. */
export class Fifo<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: T): void {
    this.#items.push(item)
  }

  /** Puts items before all others, keeping their order. */
  unshift(items: readonly T[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)]
    this.#head = 0
  }

  peek(): T | undefined {
    return this.#items[this.#head]
  }

  peekLast(): T | undefined {
    return this.length === 0 ? undefined : this.#items[this.#items.length - 1]
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head += 1
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Removes and returns the first item that satisfies `test`. Linear; for the rare case. */
  removeFirst(test: (item: T) => boolean): T | undefined {
    for (let at = this.#head; at < this.#items.length; at += 1) {
      const item = this.#items[at] as T
      if (test(item)) {
        this.#items.splice(at, 1)
        return item
      }
    }
    return undefined
  }

  /** Removes and returns every item that satisfies `test`, in order. */
  extract(test: (item: T) => boolean): T[] {
    const taken: T[] = []
    const kept: T[] = []
    for (const item of this.#items.slice(this.#head) as T[]) (test(item) ? taken : kept).push(item)
    this.#items = kept
    this.#head = 0
    return taken
  }

  clear(): T[] {
    return this.extract(() => true)
  }
}
