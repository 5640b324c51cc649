import type { Clock } from '../../support/clock.js'
import { afterPollTurn } from './poll-turn.js'

/** What belongs to a frame that nobody waited for comes within the lumps of an adapter (16 ms). */
const AFTER_STRAY_MS = 20

/** Waits for silence on a line whose frames carry no ids, before a request is sent. */
export class LineQuiet {
  readonly #clock: Clock
  readonly #quietMs: number
  readonly #name: string
  /** On the monotonic clock. */
  #quietAt = Number.NEGATIVE_INFINITY
  /** Ends the wait of the one call that waits. */
  #stop: ((reason: string) => void) | undefined

  /** @param name How messages name the line */
  constructor(name: string, clock: Clock, quietMs: number) {
    this.#name = name
    this.#clock = clock
    this.#quietMs = quietMs
  }

  /** Bytes came in, `now` on the monotonic clock. */
  heard(now: number): void {
    this.#quietAt = Math.max(this.#quietAt, now + this.#quietMs)
  }

  /** A whole frame came in that nobody waited for. */
  heardStray(now: number): void {
    this.#quietAt = Math.max(this.#quietAt, now + AFTER_STRAY_MS)
  }

  /** Ends a wait that is going on. */
  stop(reason: string): void {
    this.#stop?.(reason)
  }

  /**
   * Resolves once nothing came in for the quiet time and nothing waits in the kernel either: a process that was held up
   * finds its timer over and the bytes still unread. Rejects with what `refuse` makes of the reason.
   */
  wait(
    timeoutMs: number,
    signal: AbortSignal | undefined,
    refuse: (reason: string, cause?: unknown) => Error,
  ): Promise<void> {
    const deadline = this.#clock.monotonic() + timeoutMs
    return new Promise((resolve, reject) => {
      let cancel = () => {}
      const finish = (reason?: string, cause?: unknown) => {
        cancel()
        this.#stop = undefined
        signal?.removeEventListener('abort', onAbort)
        if (reason === undefined) resolve()
        else reject(refuse(reason, cause))
      }
      const onAbort = () => finish('aborted before sending', signal?.reason)
      const left = () => this.#quietAt - this.#clock.monotonic()
      const look = () => {
        if (left() <= 0) cancel = afterPollTurn(() => (left() <= 0 ? finish() : look()))
        else if (this.#clock.monotonic() >= deadline) finish(`${this.#name} was not quiet for ${timeoutMs} ms`)
        else cancel = this.#clock.after(left(), look)
      }
      this.#stop = finish
      signal?.addEventListener('abort', onAbort, { once: true })
      look()
    })
  }
}
