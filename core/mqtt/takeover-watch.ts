import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { Closing } from './connection.js'

/** A connection that the broker closes this soon after it was made counts as a kick; one that lasted shows that all is well. */
const QUICK_MS = 3_000
const LASTING_MS = 30_000
/** Kicks that a newcomer takes before it gives in, and one that has been here for long. */
const NEWCOMER_KICKS = 3
const RESIDENT_KICKS = 8
const RESIDENT_AFTER_MS = 60_000

/**
 * Tells whether somebody else uses our client id. MQTT 5 says so (reason 0x8E). On 3.1.1 the broker just closes: two
 * clients of one id then kick each other in turn, which shows as connections that end soon after they were made, again and
 * again and without a network error. The one that came last gives in first.
 */
export class TakeoverWatch {
  readonly #clock: Clock
  readonly #since: number
  #kicks = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#since = clock.monotonic()
  }

  /** Judges a loss; the error to stop with, or undefined. `explained`: something else may have brought it about. */
  lost(closing: Closing, upMs: number, clientId: string, explained = false): RouteMQError | undefined {
    if (closing.kind === 'taken-over') return this.#inUse(clientId, 'another client took the session over')
    const kicked = !explained && closing.kind === 'lost' && closing.error === undefined && upMs < QUICK_MS
    if (kicked) this.#kicks += 1
    else if (upMs >= LASTING_MS || closing.kind === 'ended' || closing.error !== undefined) this.#kicks = 0
    const resident = this.#clock.monotonic() - this.#since >= RESIDENT_AFTER_MS
    if (this.#kicks < (resident ? RESIDENT_KICKS : NEWCOMER_KICKS)) return undefined
    return this.#inUse(clientId, `the broker closed ${this.#kicks} connections in a row right after they were made`)
  }

  /** Nobody could connect: the broker itself goes and comes, which ends connections too. */
  unreachable(): void {
    this.#kicks = 0
  }

  #inUse(clientId: string, what: string): RouteMQError {
    return new RouteMQError(
      'CLIENT_ID_IN_USE',
      `the client id "${clientId}" is used by somebody else: ${what}; each installation needs its own ROUTEMQ_INSTANCE`,
      {
        details: { clientId },
      },
    )
  }
}
