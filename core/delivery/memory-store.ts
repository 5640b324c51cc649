import type { FieldPort } from '../modbus/field.js'
import { systemClock } from '../support/clock.js'
import { ClaimBook } from './claim-book.js'
import type { Claim, ClaimOutcome, DeadLetter, DeliveryStore, ParkedMessage } from './delivery-store.js'
import { Lives } from './lives.js'
import { workerGone } from './worker-gone.js'
import { WriteJournal } from './write-journal.js'

export interface MemoryStoreOptions {
  /** Dead letters kept; the oldest goes first. @default 1_000 */
  readonly deadLetters?: number
  /** Finished commands remembered; the oldest goes first. @default 10_000 */
  readonly claims?: number
}

const HERE = 'gateway'

/**
 * For an installation without durable storage: everything is gone with the process, so a message gets one attempt, is
 * never parked, and an acknowledgement promises no more than that its handler ran.
 */
export class MemoryStore implements DeliveryStore {
  readonly durable = false
  readonly #limits: Required<MemoryStoreOptions>
  readonly #letters: DeadLetter[] = []
  readonly #claims: ClaimBook
  readonly #journal = new WriteJournal()
  readonly #lives = new Lives()
  readonly #parked = new Map<string, ParkedMessage>()
  #nextId = 1

  constructor(options: MemoryStoreOptions = {}) {
    this.#limits = { deadLetters: 1_000, claims: 10_000, ...options }
    this.#claims = new ClaimBook(systemClock, this.#limits.claims)
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

  /** The store as the process uses it that is this worker now: its claims are free again when it is lost. */
  forWorker(worker: string): DeliveryStore {
    const lives = this.#lives.of(worker)
    return {
      durable: this.durable,
      deadLetter: (letter) => this.deadLetter(letter),
      park: (message) => this.park(message),
      unpark: (id) => this.unpark(id),
      fetchParked: (id) => this.fetchParked(id),
      claim: async (key, payloadHash) => {
        if (!lives()) throw workerGone(worker)
        return this.#claim(key, payloadHash, worker)
      },
      complete: (key, outcome) => this.complete(key, outcome),
      release: (key) => this.release(key),
    }
  }

  /** The process is gone: what it had claimed is run again by whoever has the redelivered copy. */
  workerLost(worker: string): void {
    this.#lives.end(worker)
    this.#claims.lose(worker)
  }

  /** The devices, for commands that run under a claim: what a command wrote before its worker died is not written again. */
  guardField(field: FieldPort): FieldPort {
    return this.#journal.guard(field)
  }

  async claim(key: string, payloadHash: string): Promise<Claim> {
    return this.#claim(key, payloadHash, HERE)
  }

  async complete(key: string, outcome: ClaimOutcome): Promise<void> {
    this.#claims.done(key, outcome)
    this.#journal.forget(key)
  }

  async release(key: string): Promise<void> {
    if (this.#claims.isDone(key)) return
    this.#claims.forget(key)
    this.#journal.forget(key)
  }

  #claim(key: string, payloadHash: string, worker: string): Claim {
    const known = this.#claims.look(key, payloadHash)
    if (known !== undefined && known !== 'orphan') return known
    this.#claims.running(key, payloadHash, worker)
    return { state: 'claimed' }
  }
}
