import { sql } from 'kysely'
import type { Clock } from '../../support/clock.js'
import type { RepositoryContext } from '../repositories/context.js'
import type { SqliteThread } from '../sqlite/client.js'
import type { SqliteStatement } from '../sqlite/protocol.js'
import { packed } from './insert-sqlite.js'
import { type NumberedBatch, READING_COLUMNS } from './numbered-batch.js'

/** Milliseconds that rows wait for their places. */
const SETTLE_MS = 20_000
/** Rows that do not wait so long. */
const MANY = 400_000
/** Rows that are not added to: what brings more waits until they are in their places. */
const MOST = 800_000
/** Rows put in their places at once: what others wait for, about a tenth of a second. */
const PIECE = 30_000

const MOVE = `insert into routemq_readings (${READING_COLUMNS}) select ${READING_COLUMNS} from routemq_fresh_readings`
/** The order of the key: neighbours are in one page, and what was inserted twice is there once. */
const IN_ORDER = 'order by series_id, time_us, source_id, sequence on conflict do nothing'
const PLACE = `${MOVE} where id <= ? and series_id >= ? and series_id < ? ${IN_ORDER}`
const REMOVE = 'delete from routemq_fresh_readings where id <= ?'

/**
 * Readings that SQLite took last. In their places each would touch a page of its series; in the order in which they come they
 * fill one page after the other, as durable, at a sixth of the work. Every twenty seconds they are put in their places together,
 * so that a page takes what twenty seconds brought.
 *
 * What is in its place and still here is known by the key: an interrupted move loses nothing and doubles nothing.
 */
export class FreshReadings {
  readonly #context: RepositoryContext
  readonly #thread: SqliteThread
  readonly #clock: Clock
  /** Rows added since the last move, about. */
  #count = 0
  #cancel: (() => void) | undefined
  #moving: Promise<void> = Promise.resolve()

  constructor(context: RepositoryContext, thread: SqliteThread, clock: Clock) {
    this.#context = context
    this.#thread = thread
    this.#clock = clock
  }

  /** Resolves when the batch is there; it may be there twice until it is settled. */
  async add(batch: NumberedBatch): Promise<void> {
    if (this.#count >= MOST) await this.settle()
    const parts = packed(batch, { table: 'routemq_fresh_readings', after: '' })
    // In the connection's turn, so that it never lands inside somebody's transaction.
    await this.#inTurn(() => this.#thread.rows(parts, 'relaxed'))
    this.#count += batch.rows.length
    if (this.#count >= MANY) this.#settleSoon(0)
    else this.#settleSoon(SETTLE_MS)
  }

  /** Resolves when everything added so far is in its places. */
  settle(): Promise<void> {
    const settled = this.#moving.then(() => this.#move())
    this.#moving = settled.catch(() => undefined) // whoever asked is told; the next attempt is a new one
    return settled
  }

  /** Puts what it added in its places; what cannot be stays for the next life. */
  async stop(): Promise<void> {
    this.#cancel?.()
    if (this.#count > 0) await this.settle().catch(() => undefined)
  }

  #settleSoon(ms: number): void {
    if (this.#cancel !== undefined && ms > 0) return
    this.#cancel?.()
    this.#cancel = this.#clock.after(
      ms,
      () => {
        this.#cancel = undefined
        // The state of the database tells why; the rows are as durable here, and the next batch asks again.
        this.settle().catch(() => undefined)
      },
      { unref: true },
    )
  }

  async #move(): Promise<void> {
    const { rows } = await sql<{ until: number; first: number; last: number; count: number }>`
      select max(id) as until, min(series_id) as first, max(series_id) as last, count(*) as count
      from routemq_fresh_readings`.execute(this.#context.db)
    const { until, first, last, count } = rows[0]!
    this.#count = 0
    if (count === 0) return
    const width = Math.ceil((last - first + 1) / Math.ceil(count / PIECE))
    for (let from = first; from <= last; from += width) {
      await this.#run([{ sql: PLACE, params: [until, from, from + width] }])
    }
    await this.#run([{ sql: REMOVE, params: [until] }])
  }

  async #run(statements: readonly SqliteStatement[]): Promise<void> {
    await this.#inTurn(() => this.#thread.readings(statements))
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#context.db.connection().execute(work)
  }
}
