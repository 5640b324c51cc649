import { type Selectable, sql } from 'kysely'
import type { Clock } from '../../support/clock.js'
import type { FrameworkTables } from '../tables.js'
import { microsToIso } from '../values.js'
import type { RepositoryContext } from './context.js'
import { databaseMicros } from './database-clock.js'
import { insertOnce } from './insert-once.js'

export type Lease =
  | { readonly held: true; readonly epoch: number }
  | { readonly held: false; readonly owner: string; readonly epoch: number }

export interface LeaseRecord {
  readonly name: string
  readonly owner: string
  readonly epoch: number
  readonly renewed_at: string
}

type LeaseRow = FrameworkTables['routemq_leases']

/** Names in one statement. */
const CHUNK = 500

interface Watch {
  readonly epoch: number
  readonly renewed: number
  /** Monotonic time since when the lease was seen with this epoch and renewal, and when it was last looked at. */
  readonly since: number
  readonly seen: number
}

/**
 * Who owns what, over all installations on one database. A challenger takes a lease only after it has itself seen it
 * unrenewed for a whole term, looking at least twice a term: so that nobody takes over because the database was away,
 * nor because a clock stepped. The epoch grows with every change of owner.
 */
export class LeaseRepository {
  readonly #context: RepositoryContext
  readonly #clock: Clock
  readonly #watched = new Map<string, Watch>()

  constructor(context: RepositoryContext, clock: Clock) {
    this.#context = context
    this.#clock = clock
  }

  /** Takes or renews. Call it about four times a term, as holder and as challenger. */
  async acquire(name: string, owner: string, termMs: number): Promise<Lease> {
    return (await this.acquireAll([name], owner, termMs)).get(name)!
  }

  /** The same for many, in a handful of statements however many there are. */
  async acquireAll(names: readonly string[], owner: string, termMs: number): Promise<ReadonlyMap<string, Lease>> {
    const leases = new Map<string, Lease>()
    // In one order everywhere: two installations that insert the same rows must not wait for each other.
    const sorted = [...new Set(names)].sort()
    try {
      for (let at = 0; at < sorted.length; at += CHUNK) {
        await this.#acquireSome(sorted.slice(at, at + CHUNK), owner, termMs, leases)
      }
      return leases
    } catch (error) {
      for (const name of sorted) this.#watched.delete(name) // what happened while the database was away was not seen
      throw error
    }
  }

  /** Gives a lease back, so that the next challenger need not wait. */
  release(name: string, owner: string): Promise<void> {
    return this.releaseAll([name], owner)
  }

  async releaseAll(names: readonly string[], owner: string): Promise<void> {
    for (let at = 0; at < names.length; at += CHUNK) {
      await this.#context.db
        .updateTable('routemq_leases')
        .set({ owner: '' })
        .where('name', 'in', names.slice(at, at + CHUNK))
        .where('owner', '=', owner)
        .execute()
    }
  }

  async list(): Promise<LeaseRecord[]> {
    const rows = await this.#context.db.selectFrom('routemq_leases').selectAll().orderBy('name').execute()
    return rows.map(({ name, owner, epoch, renewed_us }) => ({
      name,
      owner,
      epoch,
      renewed_at: microsToIso(renewed_us),
    }))
  }

  /** Owners whose leases have not lapsed, by the clock of the database. */
  async alive(): Promise<string[]> {
    const rows = await this.#context.db
      .selectFrom('routemq_leases')
      .select('owner')
      .distinct()
      .where('owner', '<>', '')
      .where(sql<boolean>`renewed_us + term_us > ${databaseMicros(this.#context.dialect)}`)
      .orderBy('owner')
      .execute()
    return rows.map(({ owner }) => owner)
  }

  async #acquireSome(names: readonly string[], owner: string, termMs: number, into: Map<string, Lease>) {
    const { db, dialect } = this.#context
    const now = databaseMicros(dialect)
    const rowsOf = (wanted: readonly string[]) =>
      db.selectFrom('routemq_leases').selectAll().where('name', 'in', wanted).execute()
    await db
      .updateTable('routemq_leases')
      .set({ renewed_us: now, term_us: termMs * 1e3 })
      .where('name', 'in', names)
      .where('owner', '=', owner)
      .execute()
    const found = await rowsOf(names)
    const known = new Set(found.map(({ name }) => name))
    const missing = names.filter((name) => !known.has(name))
    if (missing.length > 0) {
      const rows = missing.map((name) => ({ name, owner, epoch: 1, renewed_us: now, term_us: termMs * 1e3 }))
      await insertOnce(dialect, db.insertInto('routemq_leases').values(rows))
      found.push(...(await rowsOf(missing)))
    }
    for (const row of found) into.set(row.name, await this.#claim(row, owner, termMs))
  }

  /** What a row means to this owner; takes it where its holder let it lapse. */
  async #claim(found: Selectable<LeaseRow>, owner: string, termMs: number): Promise<Lease> {
    const { db, dialect } = this.#context
    const { name } = found
    if (found.owner === owner) {
      this.#watched.delete(name)
      return { held: true, epoch: found.epoch }
    }
    if (found.owner !== '' && !this.#unrenewedForATerm(name, found, termMs)) {
      return { held: false, owner: found.owner, epoch: found.epoch }
    }
    const taken = await db
      .updateTable('routemq_leases')
      .set({ owner, epoch: found.epoch + 1, renewed_us: databaseMicros(dialect), term_us: termMs * 1e3 })
      .where('name', '=', name)
      .where('owner', '=', found.owner)
      .where('epoch', '=', found.epoch)
      .where('renewed_us', '=', found.renewed_us)
      .executeTakeFirst()
    this.#watched.delete(name)
    if (taken.numUpdatedRows === 1n) return { held: true, epoch: found.epoch + 1 }
    return { held: false, owner: found.owner, epoch: found.epoch }
  }

  #unrenewedForATerm(name: string, found: { epoch: number; renewed_us: number; term_us: number }, termMs: number) {
    const now = this.#clock.monotonic()
    // The holder's own term counts where it is the longer one.
    const term = Math.max(termMs, found.term_us / 1e3)
    const watch = this.#watched.get(name)
    const unchanged =
      watch !== undefined &&
      watch.epoch === found.epoch &&
      watch.renewed === found.renewed_us &&
      now - watch.seen <= term / 2
    const since = unchanged ? watch.since : now
    this.#watched.set(name, { epoch: found.epoch, renewed: found.renewed_us, since, seen: now })
    return now - since >= term
  }
}
