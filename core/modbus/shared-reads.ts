import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { BlockReading, ReadBlock } from './field.js'
import type { Patience } from './patience.js'

interface SharedRead {
  promise: Promise<BlockReading>
  /** Undefined where the first caller waits whatever happens. */
  readonly abandon: AbortController | undefined
  callers: number
}

const NEVER = new Promise<never>(() => {})

/** Equal live reads of one device that are not on the wire yet are one request; each caller waits as long as it may. */
export class SharedReads {
  readonly #device: string
  readonly #clock: Clock
  readonly #reads = new Map<string, SharedRead>()

  constructor(device: string, clock: Clock) {
    this.#device = device
    this.#clock = clock
  }

  /** Joins an equal read, or runs `start`, which calls `onSent` when its request goes to the wire. */
  read(
    block: ReadBlock,
    patience: Patience,
    start: (signal: AbortSignal | undefined, onSent: () => void) => Promise<BlockReading>,
  ): Promise<BlockReading> {
    const key = `${block.register_type}:${block.address}:${block.count}`
    let shared = this.#reads.get(key)
    if (shared === undefined) {
      // A signal is dear, and only callers that may leave early can abandon a read.
      const mayLeave = patience.signal !== undefined || patience.deadline !== undefined
      const fresh: SharedRead = { abandon: mayLeave ? new AbortController() : undefined, callers: 0, promise: NEVER }
      const close = () => {
        if (this.#reads.get(key) === fresh) this.#reads.delete(key)
      }
      this.#reads.set(key, fresh)
      fresh.promise = start(fresh.abandon?.signal, close).finally(close)
      shared = fresh
    }
    return this.#wait(shared, key, block, patience)
  }

  /** Waits as long as this caller may; the shared read goes on for the others. */
  #wait(shared: SharedRead, key: string, block: ReadBlock, { deadline, signal }: Patience): Promise<BlockReading> {
    shared.callers += 1
    return new Promise((resolve, reject) => {
      const undo: (() => void)[] = []
      const settled = () => {
        for (const step of undo.splice(0)) step()
      }
      shared.promise.then(resolve, reject).finally(settled)
      const leave = (code: 'COMMAND_EXPIRED' | 'REQUEST_CANCELLED', why: string) => {
        settled()
        const message = `${why} before device ${this.#device} answered`
        const error = new RouteMQError(code, message, { details: { ...block } })
        reject(error)
        shared.callers -= 1
        if (shared.callers > 0) return
        if (this.#reads.get(key) === shared) this.#reads.delete(key)
        shared.abandon?.abort(error)
      }
      if (signal !== undefined) {
        const onAbort = () => leave('REQUEST_CANCELLED', 'The caller gave up')
        if (signal.aborted) return onAbort()
        signal.addEventListener('abort', onAbort, { once: true })
        undo.push(() => signal.removeEventListener('abort', onAbort))
      }
      if (deadline !== undefined) {
        const left = deadline - this.#clock.monotonic()
        if (left <= 0) return leave('COMMAND_EXPIRED', 'The deadline passed')
        undo.push(this.#clock.after(left, () => leave('COMMAND_EXPIRED', 'The deadline passed')))
      }
    })
  }
}
