import { RouteMQError } from '../support/errors.js'
import type { Claim, ClaimOutcome, DeadLetter, DeliveryStore, ParkedMessage } from './delivery-store.js'

export interface MemoryStoreOptions {
  /** Dead letters kept; the oldest goes first. @default 1_000 */
  readonly deadLetters?: number
  /** Finished commands remembered; the oldest goes first. @default 10_000 */
  readonly claims?: number
}

interface HeldClaim {
  readonly payloadHash: string
  outcome: ClaimOutcome | undefined
}

/**
 * For an installation without durable storage: everything is gone with the process, so a message gets one attempt, is
 * never parked, and an acknowledgement promises no more than that its handler ran.
 */
export class MemoryStore implements DeliveryStore {
  readonly durable = false
  readonly #limits: Required<MemoryStoreOptions>
  readonly #letters: DeadLetter[] = []
  readonly #claims = new Map<string, HeldClaim>()
  readonly #parked = new Map<string, ParkedMessage>()
  #nextId = 1

  constructor(options: MemoryStoreOptions = {}) {
    this.#limits = { deadLetters: 1_000, claims: 10_000, ...options }
  }

  /** The newest dead letters, oldest first. */
  get letters(): readonly DeadLetter[] {
    return this.#letters
  }

  get parked(): readonly ParkedMessage[] {
    return [...this.#parked.values()]
  }

  async deadLetter(letter: DeadLetter): Promise<void> {
    this.#letters.push(letter)
    if (this.#letters.length > this.#limits.deadLetters) this.#letters.shift()
  }

  async park(message: Omit<ParkedMessage, 'id'>): Promise<string> {
    const id = String(this.#nextId++)
    this.#parked.set(id, { ...message, id })
    return id
  }

  async unpark(id: string): Promise<void> {
    this.#parked.delete(id)
  }

  async fetchParked(id: string): Promise<ParkedMessage | undefined> {
    return this.#parked.get(id)
  }

  async claim(key: string, payloadHash: string): Promise<Claim> {
    const held = this.#claims.get(key)
    if (held === undefined) {
      this.#claims.set(key, { payloadHash, outcome: undefined })
      this.#forgetOldest()
      return { state: 'claimed' }
    }
    if (held.payloadHash !== payloadHash) throw keyReused()
    return held.outcome === undefined ? { state: 'running' } : { state: 'done', outcome: held.outcome }
  }

  async complete(key: string, outcome: ClaimOutcome): Promise<void> {
    const held = this.#claims.get(key)
    if (held !== undefined) held.outcome = outcome
  }

  async release(key: string): Promise<void> {
    if (this.#claims.get(key)?.outcome === undefined) this.#claims.delete(key)
  }

  #forgetOldest(): void {
    for (const [key, held] of this.#claims) {
      if (this.#claims.size <= this.#limits.claims) return
      if (held.outcome !== undefined) this.#claims.delete(key)
    }
  }
}

/** The same words from every store. */
export function keyReused(): RouteMQError {
  return new RouteMQError(
    'IDEMPOTENCY_KEY_REUSED',
    'this request_id (or correlation data) was used before with another payload',
  )
}
