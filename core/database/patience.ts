import { RouteMQError } from '../support/errors.js'
import { whileAwaited } from './awaited.js'

/** How long a query of the history may go on: it is several statements. */
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
    if (performance.now() >= this.#until) throw this.#tooLong()
  }

  /** True from a third of the time on: what was found should be given before nothing can be given any more. */
  get isWearing(): boolean {
    return performance.now() >= this.#until - (this.#ms * 2) / 3
  }

  /** Runs a query whose statements a server ends when its time is over or nobody waits for it any more. */
  async during<T>(query: () => Promise<T>): Promise<T> {
    const limit = new AbortController()
    const timer = setTimeout(() => limit.abort(this.#tooLong()), this.#until - performance.now())
    const signals = this.#signal === undefined ? [limit.signal] : [limit.signal, this.#signal]
    try {
      return await whileAwaited(AbortSignal.any(signals), query)
    } finally {
      clearTimeout(timer)
    }
  }

  #tooLong(): RouteMQError {
    return new RouteMQError('HISTORY_TIMEOUT', `The database did not find it within ${this.#ms} ms`)
  }
}
