import type { Logger } from '../observability/logger.js'

interface Closer {
  readonly name: string
  readonly close: () => Promise<void>
}

/** What was started, to be ended in the reverse order. One part that fails to end does not keep the others open. */
export class Closers {
  #closers: Closer[] = []

  add(name: string, close: () => Promise<void>): void {
    this.#closers.push({ name, close })
  }

  /** For what everything else stands on: ended last, whenever it was started. */
  addFirst(name: string, close: () => Promise<void>): void {
    this.#closers.unshift({ name, close })
  }

  async closeAll(logger: Logger): Promise<void> {
    const closers = this.#closers.reverse()
    this.#closers = []
    for (const { name, close } of closers) {
      try {
        await close()
      } catch (error) {
        logger.error({ error, part: name }, `${name} did not end cleanly`)
      }
    }
  }
}
