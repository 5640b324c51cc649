import { crc32 } from 'node:zlib'
import type { Logger } from '../observability/logger.js'
import { Backoff } from '../support/backoff.js'
import { type Clock, sleep } from '../support/clock.js'
import type { Bodies } from './bodies.js'
import { payloadHashOf } from './claims.js'
import type { DeliveryStore, ParkedHead } from './delivery-store.js'
import type { Screening } from './screening.js'
import type { DeliveryStats } from './stats.js'
import { toStored } from './stored.js'
import type { Unit } from './unit.js'

/** Past these bounds a message is held on its lane instead. */
export interface ParkingLimits {
  /** Each keeps its place in memory. @default 10_000 */
  readonly messages: number
  /** Of their payloads in the store. @default 1 GiB */
  readonly storedBytes: number
}

const LIMITS: ParkingLimits = { messages: 10_000, storedBytes: 1_024 * 1_048_576 }
/** After a failure the store is left alone for this long. */
const STORE_PAUSE_MS = 1_000
/** ...and whoever could not tell what a credential is worth, about one message. */
const JUDGE_PAUSE_MS = 1_000

export interface ParkingOptions {
  readonly store: DeliveryStore
  readonly logger: Logger
  readonly clock: Clock
  readonly stats: DeliveryStats
  readonly bodies: Bodies
  readonly limits?: Partial<ParkingLimits> | undefined
}

/** Takes messages off their lanes into the store, and out of the store again when they are finished. */
export class Parking {
  readonly #options: ParkingOptions
  readonly #limits: ParkingLimits
  #messages = 0
  #bytes = 0
  #pausedUntil = 0
  readonly #stop = new AbortController()

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
    if (!store.durable || this.#messages >= this.#limits.messages || this.#bytes >= this.#limits.storedBytes)
      return false
    return clock.monotonic() >= this.#pausedUntil
  }

  /** What runs keeps its payload in memory, for which there must be room. */
  admits(unit: Unit): boolean {
    return this.open && (unit.place !== 'running' || this.#options.bodies.open)
  }

  /** Resolves with true once the message is durable, with false where it has to stay on its lane. Never rejects. */
  park(unit: Unit, screening: Screening): Promise<boolean> {
    if (unit.parkedId !== undefined) return Promise.resolve(true)
    if (unit.parking === undefined && !this.admits(unit)) {
      if (this.#options.store.durable) this.#options.stats.count('park_refused')
      return Promise.resolve(false)
    }
    unit.parking ??= this.#park(unit, screening)
    return unit.parking
  }

  /** A message that is in the store already, after a restart. */
  adopt(unit: Unit, { id, bytes = 0, crc, properties }: ParkedHead): void {
    unit.parkedId = id
    unit.crc = crc
    this.#take(unit, bytes, properties)
    this.#options.bodies.adopt(unit)
  }

  /** Called when a message is finished, parked or not. Waits for a parking that is on its way. */
  async finish(unit: Unit): Promise<void> {
    if (unit.parking !== undefined) await unit.parking
    const id = unit.parkedId
    if (id === undefined) return
    this.#forget(unit)
    this.#options.bodies.done(unit)
    const { store, logger, clock } = this.#options
    const backoff = new Backoff()
    // It would run once more after a restart.
    for (let told = false; !this.#stop.signal.aborted; told = true) {
      try {
        return await store.unpark(id)
      } catch (error) {
        const facts = { route: unit.route.id, topic: unit.message.topic, err: error }
        if (!told) logger.warn(facts, 'a finished message could not be taken out of the parked ones; tried again')
        await sleep(backoff.next(), this.#stop.signal, clock).catch(() => {})
      }
    }
  }

  stop(): void {
    this.#stop.abort()
  }

  async #park(unit: Unit, screening: Screening): Promise<boolean> {
    const { store, clock, stats, logger } = this.#options
    this.#take(unit, unit.message.payload.length, {})
    unit.unjudged = !(await screening.clean(unit))
    if (unit.unjudged) {
      this.#giveBack(unit)
      unit.parkFrom = clock.monotonic() + JUDGE_PAUSE_MS
      return false
    }
    try {
      // What comes back from the store is not what came in: the identity of a command is that of the bytes as they came.
      if (unit.raw !== unit.message.payload) unit.payloadHash ??= payloadHashOf(unit.message.payload)
      const { key, attempt, raw } = unit
      const stored = toStored(unit.route.id, unit.message, raw, unit)
      const crc = crc32(raw)
      const id = await store.park({ ...stored, key, attempt, bytes: raw.length, crc })
      this.#forget(unit)
      this.#take(unit, raw.length, stored.properties)
      unit.crc = crc
      unit.parkedId = id
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
    this.#forget(unit)
    unit.parking = undefined
  }

  #take(unit: Unit, bytes: number, properties: object): void {
    unit.bytes = bytes
    // Properties are a stranger's, and may be as large as a payload.
    unit.weight = bytes + JSON.stringify(properties).length
    this.#messages += 1
    this.#bytes += bytes
  }

  #forget(unit: Unit): void {
    this.#messages -= 1
    this.#bytes -= unit.bytes
  }
}
