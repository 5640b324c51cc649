import type { Clock } from '../support/clock.js'
import type { Connection } from './connection.js'
import type { Waiters } from './waiters.js'

export interface SessionDrainOptions {
  readonly ownTopic: string
  readonly clock: Clock
  /** Woken when a message settles. */
  readonly waiters: Waiters
  /** Everything that was handed on has settled. */
  readonly idle: () => boolean
}

/** Tells when a session holds nothing any more: a sentinel to the own topic arrives after everything older. */
export class SessionDrain {
  readonly #options: SessionDrainOptions
  readonly #sentinels = new Map<string, () => void>()

  constructor(options: SessionDrainOptions) {
    this.#options = options
  }

  /** A mark came over the own topic; false where it is no sentinel. */
  passed(mark: string): boolean {
    const sentinel = this.#sentinels.get(mark)
    if (sentinel === undefined) return false
    this.#sentinels.delete(mark)
    sentinel()
    return true
  }

  /**
   * Unsubscribes, and resolves with true when everything the session held has been handled; with false when the
   * connection is lost or the time is over.
   */
  async run(connection: Connection, filters: readonly string[], left: () => number): Promise<boolean> {
    const { ownTopic, clock, waiters, idle } = this.#options
    if (filters.length > 0) {
      const unsubscribed = new Promise<boolean>((resolve) => {
        connection.client.unsubscribe([...filters], (error) => resolve(!error))
      })
      if (!(await this.#within(unsubscribed, connection, left()))) return false
    }
    const sentinel = `sentinel-${clock.now()}-${Math.random().toString(36).slice(2)}`
    const arrived = new Promise<boolean>((resolve) => this.#sentinels.set(sentinel, () => resolve(true)))
    connection.client.publish(ownTopic, sentinel, { qos: 1 }, () => {})
    const drained =
      (await this.#within(arrived, connection, left())) &&
      (await waiters.until(() => idle() || connection.isClosed, left()))
    this.#sentinels.delete(sentinel)
    return drained && !connection.isClosed
  }

  /** The value, or false when the connection is lost or the time is over. */
  #within(value: Promise<boolean>, connection: Connection, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(limitMs, () => resolve(false))
      const settle = (outcome: boolean) => {
        cancel()
        resolve(outcome)
      }
      value.then(settle)
      connection.closed.then(() => settle(false))
    })
  }
}
