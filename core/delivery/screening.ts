import { isRetryable } from '../support/errors.js'
import { remember } from './attempt-facts.js'
import { payloadHashOf } from './claims.js'
import { type ContextServices, DeliveryContext } from './context.js'
import { decode } from './payload.js'
import type { Unit } from './unit.js'

const NOTHING = Buffer.alloc(0)

/**
 * Takes the credential out of a message that is to be kept before its turn has come. Its authenticating middleware runs
 * ahead of the rest: what it left is kept, and with it what the credential proved.
 */
export class Screening {
  readonly #services: ContextServices
  readonly #maxPacketBytes: number

  constructor(services: ContextServices, maxPacketBytes: number) {
    this.#services = services
    this.#maxPacketBytes = maxPacketBytes
  }

  /**
   * Afterwards `unit.raw` may be kept. Resolves with false where nobody could tell what the credential is worth: kept now,
   * the message would be refused later. One that is refused now is refused again when its turn comes.
   */
  async clean(unit: Unit): Promise<boolean> {
    const { screen } = unit.route
    if (screen === undefined || unit.auth !== undefined) return true
    unit.payloadHash ??= payloadHashOf(unit.message.payload)
    let payload: unknown
    try {
      payload = decode(unit.message, unit.route, this.#maxPacketBytes)
    } catch {
      // Nobody can say where in it a credential stands. It fails for this very reason when its turn comes.
      unit.raw = NOTHING
      unit.withheld = 'PAYLOAD_MALFORMED'
      return true
    }
    const context = new DeliveryContext(unit, payload, this.#services)
    try {
      await screen(context)
      return true
    } catch (error) {
      return !isRetryable(error)
    } finally {
      remember(unit, context)
    }
  }
}
