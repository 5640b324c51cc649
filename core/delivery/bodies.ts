import { crc32 } from 'node:zlib'
import type { DeliveryStore, ParkedHead, ParkedMessage } from './delivery-store.js'
import { FairLine } from './fair-line.js'
import { propertiesOf } from './stored.js'
import type { Unit } from './unit.js'

/** Bytes of the payloads of parked messages that may be in memory; one message larger than a bound still passes, alone. */
export interface BodyLimits {
  /** Of those that wait: the oldest keep theirs, the others have it in the store only. @default 16 MiB */
  readonly keptBytes: number
  /** Of those that run. @default 32 MiB */
  readonly runningBytes: number
}

const LIMITS: BodyLimits = { keptBytes: 16 * 1_048_576, runningBytes: 32 * 1_048_576 }
const NOTHING = Buffer.alloc(0)

/**
 * The payloads of parked messages. A message that is parked for long leaves everything in the store that its place in
 * the order does not need; what it needs to run is read back when its turn has come.
 */
export class Bodies {
  readonly #store: DeliveryStore
  readonly #limits: BodyLimits
  #kept = 0
  #running = 0
  /** Of those that run, by fate. */
  readonly #ofFate = new Map<string, number>()
  readonly #line = new FairLine<{ readonly unit: Unit; readonly go: () => void }>()

  constructor(store: DeliveryStore, limits: Partial<BodyLimits> = {}) {
    this.#store = store
    this.#limits = { ...LIMITS, ...limits }
  }

  /** Bytes in memory. */
  get bytes(): number {
    return this.#kept + this.#running
  }

  /** False where what runs already has more in memory than it may: a message that runs cannot leave its bytes. */
  get open(): boolean {
    return this.#running < this.#limits.runningBytes
  }

  /** It is parked, and goes on running. */
  runs(unit: Unit): void {
    if (unit.body !== 'own') return
    detach(unit)
    this.#enter(unit)
  }

  /** It is parked, and waits. */
  waits(unit: Unit): void {
    if (unit.body === 'kept' || unit.body === 'stored') return
    this.#leave(unit)
    if (this.#kept > 0 && this.#kept + unit.weight > this.#limits.keptBytes) {
      forget(unit)
      return
    }
    unit.body = 'kept'
    this.#kept += unit.weight
    detach(unit)
  }

  /** It is in the store from before, and waits. */
  adopt(unit: Unit): void {
    forget(unit)
  }

  /** Its turn has come; resolves with false where the store cannot say what it was just now. Never rejects. */
  async fetch(unit: Unit): Promise<boolean> {
    if (unit.body === 'kept') {
      this.#kept -= unit.weight
      this.#enter(unit)
    }
    if (unit.body !== 'stored') return true
    if (this.#mayEnter(unit.fate)) this.#enter(unit)
    else await new Promise<void>((go) => this.#line.push(unit.fate, { unit, go }))
    let stored: ParkedMessage | undefined
    try {
      stored = await this.#store.fetchParked(unit.parkedId!)
    } catch {
      this.#leave(unit)
      unit.body = 'stored'
      return false
    }
    restore(unit, stored)
    return true
  }

  /** It has ended. */
  done(unit: Unit): void {
    if (unit.body === 'kept') this.#kept -= unit.weight
    this.#leave(unit)
    unit.body = 'own'
  }

  #enter(unit: Unit): void {
    unit.body = 'running'
    this.#running += unit.weight
    this.#ofFate.set(unit.fate, (this.#ofFate.get(unit.fate) ?? 0) + unit.weight)
  }

  #leave(unit: Unit): void {
    if (unit.body !== 'running') return
    this.#running -= unit.weight
    const left = this.#ofFate.get(unit.fate)! - unit.weight
    if (left > 0) this.#ofFate.set(unit.fate, left)
    else this.#ofFate.delete(unit.fate)
    for (;;) {
      const next = this.#line.shift((fate) => this.#mayEnter(fate))
      if (next === undefined) return
      this.#enter(next.unit)
      next.go()
    }
  }

  /** Those of one fate take no more than half: a device that lets all its commands wait is not to stop the others. */
  #mayEnter(fate: string): boolean {
    if (this.#running === 0) return true
    const { runningBytes } = this.#limits
    return this.#running < runningBytes && (this.#ofFate.get(fate) ?? 0) < runningBytes / 2
  }
}

/** What the store has, on the unit again. A payload that is gone or damaged becomes the error that says so. */
function restore(unit: Unit, stored: ParkedMessage | undefined): void {
  const payload = stored === undefined ? undefined : Buffer.from(stored.payload, 'base64')
  const whole =
    payload !== undefined && isIntact(payload, { bytes: unit.bytes, ...(unit.crc !== undefined && { crc: unit.crc }) })
  unit.raw = whole ? payload : NOTHING
  unit.auth = stored?.auth
  unit.payloadHash ??= stored?.payloadHash
  unit.withheld = whole ? stored?.withheld : 'PAYLOAD_LOST'
  // The rest is as it came: an age that nobody knows must not become a known one by this.
  unit.message = {
    ...unit.message,
    payload: unit.raw,
    properties: stored === undefined ? {} : propertiesOf(stored),
    ...(unit.withheld !== undefined && { withheld: unit.withheld }),
  }
}

/** Whether it is what was stored; earlier versions kept nothing to tell it by. */
export function isIntact(payload: Buffer, { bytes, crc }: Pick<ParkedHead, 'bytes' | 'crc'>): boolean {
  return crc === undefined || (payload.length === bytes && crc32(payload) === crc)
}

/** Leaves what tells its place and its end: the topic, and what the unit itself holds. */
function forget(unit: Unit): void {
  unit.body = 'stored'
  unit.message = { ...unit.message, payload: NOTHING, properties: {} }
  unit.raw = NOTHING
  unit.auth = undefined
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
