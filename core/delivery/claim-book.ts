import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { Claim, ClaimOutcome } from './delivery-store.js'

type Entry =
  | {
      readonly state: 'running'
      readonly payloadHash: string
      readonly worker: string
      readonly ended: Set<() => void>
      /** Its end is being stored: whatever becomes of its worker meanwhile, it is not run again. */
      ending: boolean
    }
  /** Its worker is gone: the next who asks runs it, with the journal of what was already written. */
  | { readonly state: 'orphan'; readonly payloadHash: string }
  | { readonly state: 'done'; readonly payloadHash: string; readonly outcome: ClaimOutcome }
  /** Taken by an earlier life of the gateway that left no outcome. */
  | { readonly state: 'interrupted'; readonly payloadHash: string }

/** Ended commands that are remembered here; older ones are looked up in the table. */
const REMEMBERED = 10_000

/** The claims this gateway knows of: who runs them now, and what the latest ended with. */
export class ClaimBook {
  readonly #entries = new Map<string, Entry>()
  readonly #clock: Clock
  readonly #remembered: number

  readonly #onForgotten: (key: string) => void

  constructor(clock: Clock, remembered = REMEMBERED, onForgotten: (key: string) => void = () => {}) {
    this.#clock = clock
    this.#remembered = remembered
    this.#onForgotten = onForgotten
  }

  get size(): number {
    return this.#entries.size
  }

  /** What is known of a key; undefined when the table has to say. Throws IDEMPOTENCY_KEY_REUSED. */
  look(key: string, payloadHash: string): Claim | 'orphan' | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.payloadHash !== payloadHash) throw keyReused()
    if (entry.state === 'orphan') return 'orphan'
    return entry.state === 'done' ? { state: 'done', outcome: entry.outcome } : { state: entry.state }
  }

  running(key: string, payloadHash: string, worker: string): void {
    this.#entries.set(key, { state: 'running', payloadHash, worker, ended: new Set(), ending: false })
  }

  /** It has run, and its end is on its way to the store. */
  ending(key: string): void {
    const entry = this.#entries.get(key)
    if (entry?.state === 'running') entry.ending = true
  }

  interrupted(key: string, payloadHash: string): void {
    this.#entries.set(key, { state: 'interrupted', payloadHash })
  }

  /** `payloadHash` for a claim that this life did not take. */
  done(key: string, outcome: ClaimOutcome, payloadHash = this.hashOf(key)): void {
    if (payloadHash === undefined) return
    const entry = this.#entries.get(key)
    this.#entries.delete(key)
    this.#entries.set(key, { state: 'done', payloadHash, outcome })
    if (entry !== undefined) wake(entry)
    this.#forget()
  }

  isDone(key: string): boolean {
    return this.#entries.get(key)?.state === 'done'
  }

  hashOf(key: string): string | undefined {
    return this.#entries.get(key)?.payloadHash
  }

  forget(key: string): void {
    const entry = this.#entries.get(key)
    this.#entries.delete(key)
    if (entry !== undefined) wake(entry)
  }

  /** Its claims have no one who runs them any more. */
  lose(worker: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.state === 'running' && entry.worker === worker && !entry.ending) this.orphan(key)
    }
  }

  /** It did nothing, or nobody is there to end it: the next who asks runs it. */
  orphan(key: string): void {
    const entry = this.#entries.get(key)
    if (entry?.state !== 'running') return
    this.#entries.set(key, { state: 'orphan', payloadHash: entry.payloadHash })
    wake(entry)
  }

  /** Resolves when a running claim ends, or after `ms`. */
  whenEnded(key: string, ms: number): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry?.state !== 'running') return Promise.resolve()
    return new Promise((resolve) => {
      const end = () => {
        cancel()
        entry.ended.delete(end)
        resolve()
      }
      const cancel = this.#clock.after(ms, end)
      entry.ended.add(end)
    })
  }

  #forget(): void {
    for (const [key, { state }] of this.#entries) {
      if (this.#entries.size <= this.#remembered) return
      if (state !== 'done') continue
      this.#entries.delete(key)
      this.#onForgotten(key)
    }
  }
}

function wake(entry: Entry): void {
  if (entry.state === 'running') for (const end of [...entry.ended]) end()
}

/** The same words from every store. */
export function keyReused(): RouteMQError {
  return new RouteMQError(
    'IDEMPOTENCY_KEY_REUSED',
    'this request_id (or correlation data) was used before with another payload',
  )
}
