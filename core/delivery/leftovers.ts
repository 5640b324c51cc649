import type { Logger } from '../observability/logger.js'
import { Backoff } from '../support/backoff.js'
import { type Clock, sleep } from '../support/clock.js'
import { isIntact } from './bodies.js'
import type { DeadLetters } from './dead-letters.js'
import type { DeliveryStore, ParkedHead } from './delivery-store.js'
import { letterOfParked } from './stored.js'

export interface LeftoversOptions {
  readonly store: DeliveryStore
  readonly letters: DeadLetters
  readonly logger: Logger
  readonly clock: Clock
  /** The engine has stopped: what is left stays parked. */
  readonly stop: AbortSignal
}

/**
 * Parked messages whose route nobody has any more: as dead letters somebody sees them, and can run them once the route is
 * back. One after another, because there may be as many as can be parked, with a payload each.
 */
export class Leftovers {
  readonly #options: LeftoversOptions
  readonly #heads: ParkedHead[] = []
  #working = false

  constructor(options: LeftoversOptions) {
    this.#options = options
  }

  add(head: ParkedHead): void {
    this.#heads.push(head)
    if (this.#working) return
    this.#working = true
    void this.#work().finally(() => {
      this.#working = false
    })
  }

  async #work(): Promise<void> {
    const { logger, clock, stop } = this.#options
    const backoff = new Backoff()
    const told = new Set<string>()
    for (let head = this.#heads.shift(); head !== undefined && !stop.aborted; head = this.#heads.shift()) {
      try {
        await this.#end(head)
        backoff.reset()
      } catch (error) {
        if (stop.aborted) return
        const { id, route, topic } = head
        const facts = { route, topic, id, err: error }
        if (!told.has(id)) logger.warn(facts, 'a parked message whose route is gone stays where it is; tried again')
        told.add(id)
        // Behind the others: what fails for one of them need not fail for the next.
        this.#heads.push(head)
        await sleep(backoff.next(), stop, clock).catch(() => {})
      }
    }
  }

  async #end(head: ParkedHead): Promise<void> {
    const { store, letters, clock, stop } = this.#options
    const { id, route, topic } = head
    const fetched = await store.fetchParked(id)
    const whole = fetched !== undefined && isIntact(Buffer.from(fetched.payload, 'base64'), head)
    const { id: _, ...parked } = whole ? fetched : { ...head, payload: '', withheld: 'PAYLOAD_LOST' as const }
    const error = { code: 'ROUTE_UNKNOWN', message: `no route ${route} takes ${topic} any more` } as const
    // Under its own id: should this process end before it is unparked, the next one does not keep a second letter.
    await letters.keep(letterOfParked(parked, error, clock.now()), stop, id)
    await store.unpark(id)
  }
}
