import { RouteMQError } from '../../support/errors.js'

/** How long a query of the history may go on: it is several statements, each of which ends by itself. */
export class Patience {
  readonly #ms: number
  readonly #until: number
  readonly #signal: AbortSignal | undefined

  /** @param signal aborted when nobody waits for the answer any more */
  constructor(ms: number, signal?: AbortSignal) {
    this.#ms = ms
    this.#until = performance.now() + ms
    this.#signal = signal
  }

  /** Before each statement. @throws HISTORY_TIMEOUT, or what the signal was aborted with */
  check(): void {
    this.#signal?.throwIfAborted()
    if (performance.now() < this.#until) return
    throw new RouteMQError('HISTORY_TIMEOUT', `The database did not find it within ${this.#ms} ms`)
  }
}
