import type { Clock } from '../support/clock.js'
import type { Patience } from './patience.js'

/** Why a turn did not come. */
export type TurnRefusal = 'full' | 'expired' | 'cancelled'

/** One at a time, first come first served, bounded: the writes of one device. */
export class Turns {
  readonly #clock: Clock
  readonly #waiting: (() => void)[] = []
  #taken = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves with what gives the turn on, or with why it did not come; `full` where `limit` wait already. */
  take(limit: number, { deadline, signal }: Patience): Promise<(() => void) | TurnRefusal> {
    const now = this.#clock.monotonic()
    if (signal?.aborted === true) return Promise.resolve('cancelled')
    if (deadline !== undefined && deadline <= now) return Promise.resolve('expired')
    if (!this.#taken) {
      this.#taken = true
      return Promise.resolve(this.#release())
    }
    if (this.#waiting.length >= limit) return Promise.resolve('full')
    return new Promise((resolve) => {
      const undo: (() => void)[] = []
      const end = (result: (() => void) | TurnRefusal) => {
        for (const step of undo) step()
        resolve(result)
      }
      const start = () => end(this.#release())
      const leave = (why: TurnRefusal) => {
        this.#waiting.splice(this.#waiting.indexOf(start), 1)
        end(why)
      }
      this.#waiting.push(start)
      if (deadline !== undefined) undo.push(this.#clock.after(deadline - now, () => leave('expired')))
      if (signal !== undefined) {
        const onAbort = () => leave('cancelled')
        signal.addEventListener('abort', onAbort, { once: true })
        undo.push(() => signal.removeEventListener('abort', onAbort))
      }
    })
  }

  #release(): () => void {
    let done = false
    return () => {
      if (done) return
      done = true
      const next = this.#waiting.shift()
      if (next === undefined) this.#taken = false
      else next()
    }
  }
}
