import { createHash } from 'node:crypto'
import type { Logger } from '../observability/logger.js'
import { RouteMQError } from '../support/errors.js'
import { payloadHashOf } from './claims.js'
import type { DeathWatch } from './death-book.js'
import type { Unit } from './unit.js'

/** One death while others ran beside it proves nothing, however few attempts its route allows. */
const FEWEST_DEATHS = 2

/**
 * Finds the message that ends its process each time it runs. Whatever comes a second time is made known to the gateway
 * before it runs; what a process died during is run again one at a time, so that the next death has one name; and after
 * as many deaths as its route has attempts it is given up. Everything else goes on beside it.
 */
export class Suspects {
  readonly #watch: DeathWatch
  readonly #logger: Logger
  /** The suspect whose turn it is, and those after it. */
  #turn: Unit | undefined
  readonly #line: { readonly unit: Unit; readonly go: () => void }[] = []

  constructor(watch: DeathWatch, logger: Logger) {
    this.#watch = watch
    this.#logger = logger
  }

  /** Whether a run has to be made known: it may have ended a process before. */
  static concerns({ message, onEnd }: Unit): boolean {
    return message.dup && onEnd === undefined
  }

  /**
   * Resolves with true where it may run now. Else it has to wait for its turn: `wait` is called before this resolves,
   * `go` when the turn has come, and it has to ask again then.
   *
   * @throws WORKER_DIED where it has ended its process often enough.
   */
  async admit(unit: Unit, wait: () => void, go: () => void): Promise<boolean> {
    unit.watchId ??= watchIdOf(unit)
    const { deaths, buried } = await this.#watch.begin(unit.watchId, this.#turn === unit)
    if (deaths === 0) return true
    if (this.#turn === undefined) {
      this.#turn = unit
      return this.admit(unit, wait, go)
    }
    if (this.#turn !== unit) {
      wait()
      this.#line.push({ unit, go })
      return false
    }
    if (deaths < Math.max(FEWEST_DEATHS, unit.route.attempts)) return true
    unit.attempt = deaths
    unit.copied = buried
    throw diedOf(deaths)
  }

  /** The process outlived this attempt. */
  ended(unit: Unit): void {
    // What was given up did not run: it is done with once it is buried.
    if (unit.watchId === undefined || unit.condemned !== undefined) return
    this.#tell(unit, this.#watch.end(unit.watchId))
    this.#leave(unit)
  }

  /** What was given up is kept as a dead letter. Until now another copy of it could not have known. */
  buried(unit: Unit): void {
    if (unit.watchId === undefined || unit.condemned === undefined) return
    this.#tell(unit, this.#watch.bury(unit.watchId))
    this.#leave(unit)
  }

  /** However it ended: where nobody buried it (it was skipped, or answered from an earlier end), the next has its turn. */
  finished(unit: Unit): void {
    if (unit.watchId === undefined) return
    this.#tell(unit, this.#watch.end(unit.watchId))
    this.#leave(unit)
  }

  #leave(unit: Unit): void {
    unit.watchId = undefined
    if (this.#turn !== unit) return
    const next = this.#line.shift()
    this.#turn = next?.unit
    next?.go()
  }

  #tell(unit: Unit, told: Promise<void>): void {
    told.catch((error: unknown) => {
      this.#logger.debug({ route: unit.route.id, err: error }, 'the gateway was not told what became of a message')
    })
  }
}

/** The same for every copy of a message: a redelivery has nothing else that stays. */
function watchIdOf({ route, message, payloadHash }: Unit): string {
  return createHash('sha256')
    .update(`${route.id}\0${message.topic}\0${payloadHash ?? payloadHashOf(message.payload)}`)
    .digest('base64url')
}

function diedOf(deaths: number): RouteMQError {
  return new RouteMQError('WORKER_DIED', `the worker process died ${deaths} times while it ran this message`, {
    details: { deaths },
  })
}
