import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import type { DeliveryStore } from './delivery-store.js'
import type { Screening } from './screening.js'
import type { DeliveryStats } from './stats.js'
import { toStored } from './stored.js'
import type { Unit } from './unit.js'

/** Parked messages stay in memory until they are finished; past these bounds a message is held on its lane instead. */
export interface ParkingLimits {
  /** @default 10_000 */
  readonly messages: number
  /** Bytes of their payloads. @default 64 MiB */
  readonly bytes: number
}

const LIMITS: ParkingLimits = { messages: 10_000, bytes: 64 * 1_048_576 }
/** After a failure the store is left alone for this long. */
const STORE_PAUSE_MS = 1_000
/** ...and whoever could not tell what a credential is worth, about one message. */
const JUDGE_PAUSE_MS = 1_000

export interface ParkingOptions {
  readonly store: DeliveryStore
  readonly logger: Logger
  readonly clock: Clock
  readonly stats: DeliveryStats
  readonly limits?: Partial<ParkingLimits> | undefined
}

/** Takes messages off their lanes into the store, and out of the store again when they are finished. */
export class Parking {
  readonly #options: ParkingOptions
  readonly #limits: ParkingLimits
  #messages = 0
  #bytes = 0
  #pausedUntil = 0

  constructor(options: ParkingOptions) {
    this.#options = options
    this.#limits = { ...LIMITS, ...options.limits }
  }

  get messages(): number {
    return this.#messages
  }

  /** False while nothing more can be parked: the bound is reached, or the store failed a moment ago. */
  get open(): boolean {
    const { store, clock } = this.#options
    if (!store.durable || this.#messages >= this.#limits.messages || this.#bytes >= this.#limits.bytes) return false
    return clock.monotonic() >= this.#pausedUntil
  }

  /** Resolves with true once the message is durable, with false where it has to stay on its lane. Never rejects. */
  park(unit: Unit, screening: Screening): Promise<boolean> {
    if (unit.parkedId !== undefined) return Promise.resolve(true)
    if (unit.parking === undefined && !this.open) {
      if (this.#options.store.durable) this.#options.stats.count('park_refused')
      return Promise.resolve(false)
    }
    unit.parking ??= this.#park(unit, screening)
    return unit.parking
  }

  /** A message that is in the store already, after a restart. */
  adopt(unit: Unit, id: string): void {
    unit.parkedId = id
    this.#take(unit)
  }

  /** Called when a message is finished, parked or not. Waits for a parking that is on its way. */
  async finish(unit: Unit): Promise<void> {
    if (unit.parking !== undefined) await unit.parking
    const id = unit.parkedId
    if (id === undefined) return
    this.#messages -= 1
    this.#bytes -= unit.message.payload.length
    try {
      await this.#options.store.unpark(id)
    } catch (error) {
      // It would run once more after a restart; nothing is lost.
      this.#options.logger.warn(
        { route: unit.route.id, topic: unit.message.topic, err: error },
        'a finished message could not be taken out of the parked ones',
      )
    }
  }

  async #park(unit: Unit, screening: Screening): Promise<boolean> {
    const { store, clock, stats, logger } = this.#options
    this.#take(unit)
    unit.unjudged = !(await screening.clean(unit))
    if (unit.unjudged) {
      this.#giveBack(unit)
      unit.parkFrom = clock.monotonic() + JUDGE_PAUSE_MS
      return false
    }
    try {
      const { deadline, auth, payloadHash } = unit
      const stored = toStored(unit.route.id, unit.message, unit.raw, { deadline, auth, payloadHash })
      unit.parkedId = await store.park({ ...stored, key: unit.key, attempt: unit.attempt })
      detach(unit)
      stats.count('parked')
      return true
    } catch (error) {
      this.#giveBack(unit)
      this.#pausedUntil = clock.monotonic() + STORE_PAUSE_MS
      stats.count('park_refused')
      logger.warn(
        { route: unit.route.id, topic: unit.message.topic, err: error },
        'a message could not be parked; it stays on its lane',
      )
      return false
    }
  }

  #giveBack(unit: Unit): void {
    this.#messages -= 1
    this.#bytes -= unit.message.payload.length
    unit.parking = undefined
  }

  #take(unit: Unit): void {
    this.#messages += 1
    this.#bytes += unit.message.payload.length
  }
}

/** What arrived is a part of a piece of the stream, which it would keep in memory for as long as it is parked. */
function detach(unit: Unit): void {
  const { payload, properties } = unit.message
  const own = detached(payload)
  if (unit.raw === payload) unit.raw = own
  else unit.raw = detached(unit.raw)
  const { correlationData } = properties
  unit.message = {
    ...unit.message,
    payload: own,
    properties:
      correlationData === undefined ? properties : { ...properties, correlationData: detached(correlationData) },
  }
}

function detached(bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength <= 4 * bytes.length) return bytes
  // Not from the pool: that would be a piece shared with others again.
  const own = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(own)
  return own
}
