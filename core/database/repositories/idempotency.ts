import { createHash } from 'node:crypto'
import type { Claim, ClaimOutcome } from '../../delivery/delivery-store.js'
import { RouteMQError } from '../../support/errors.js'
import { millisToMicros } from '../values.js'
import type { RepositoryContext } from './context.js'
import { insertOnce } from './insert-once.js'

/** Who claims: an installation, and which life of it. */
export interface ClaimOwner {
  readonly instance: string
  readonly boot: string
}

export interface ClaimRecord {
  readonly key: string
  readonly payloadHash: string
  readonly owner: ClaimOwner
  readonly state: 'running' | 'done'
  readonly outcome: ClaimOutcome | undefined
}

/** A claim of another installation counts as running this long; after that its owner is taken for dead. */
const FOREIGN_CLAIM_MS = 60_000

/** One run for one key. Each promise resolves when the fact is durable. */
export class IdempotencyRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /**
   * The first caller gets `claimed`. Later ones get `done` with the outcome, `running` while the owner lives, or
   * `interrupted` where it died in between. Rejects with IDEMPOTENCY_KEY_REUSED for another payload.
   */
  async claim(key: string, payloadHash: string, owner: ClaimOwner): Promise<Claim> {
    const { db, dialect, now } = this.#context
    const at = millisToMicros(now())
    const row = {
      claim_key: stored(key),
      payload_hash: payloadHash.slice(0, 64),
      owner: JSON.stringify([owner.instance, owner.boot]),
      state: 'running',
      outcome: null,
      claimed_us: at,
      updated_us: at,
    }
    // Twice: the row that stood in the way may be released before it is read.
    for (let attempt = 0; attempt < 2; attempt++) {
      if (await insertOnce(dialect, db.insertInto('routemq_claims').values(row))) return { state: 'claimed' }
      const found = await this.#row(key)
      if (found === undefined) continue
      if (found.payload_hash !== row.payload_hash) {
        throw new RouteMQError('IDEMPOTENCY_KEY_REUSED', 'The same request_id came with another payload')
      }
      if (found.state === 'done') return { state: 'done', outcome: JSON.parse(found.outcome!) as ClaimOutcome }
      const [instance, boot] = JSON.parse(found.owner) as [string, string]
      const lives =
        instance === owner.instance ? boot === owner.boot : at - found.updated_us < millisToMicros(FOREIGN_CLAIM_MS)
      return { state: lives ? 'running' : 'interrupted' }
    }
    return { state: 'running' }
  }

  /** Stores the outcome, also of a claim that was interrupted: the first outcome stands. */
  async complete(key: string, outcome: ClaimOutcome): Promise<void> {
    await this.#context.db
      .updateTable('routemq_claims')
      .set({ state: 'done', outcome: JSON.stringify(outcome), updated_us: millisToMicros(this.#context.now()) })
      .where('claim_key', '=', stored(key))
      .where('state', '=', 'running')
      .execute()
  }

  /** Gives a claim back that provably did nothing; one with an outcome stays. */
  async release(key: string): Promise<void> {
    await this.#context.db
      .deleteFrom('routemq_claims')
      .where('claim_key', '=', stored(key))
      .where('state', '=', 'running')
      .execute()
  }

  /** Every key, as far as it is short enough to be kept itself; at most `limit` behind `after`. */
  async keys(limit: number, after = ''): Promise<string[]> {
    const rows = await this.#context.db
      .selectFrom('routemq_claims')
      .select('claim_key')
      .where('claim_key', '>', after)
      .orderBy('claim_key')
      .limit(limit)
      .execute()
    return rows.map(({ claim_key }) => claim_key)
  }

  async get(key: string): Promise<ClaimRecord | undefined> {
    const row = await this.#row(key)
    if (row === undefined) return undefined
    const [instance, boot] = JSON.parse(row.owner) as [string, string]
    return {
      key,
      payloadHash: row.payload_hash,
      owner: { instance, boot },
      state: row.state as ClaimRecord['state'],
      outcome: row.outcome === null ? undefined : (JSON.parse(row.outcome) as ClaimOutcome),
    }
  }

  #row(key: string) {
    return this.#context.db
      .selectFrom('routemq_claims')
      .selectAll()
      .where('claim_key', '=', stored(key))
      .executeTakeFirst()
  }
}

/** Keys come from strangers and may be long: what does not fit a column is kept by its hash. */
function stored(key: string): string {
  return key.length <= 200 ? key : `sha256:${createHash('sha256').update(key).digest('hex')}`
}
