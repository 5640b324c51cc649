import { randomUUID } from 'node:crypto'
import { type SqlBool, sql } from 'kysely'
import type { DeadLetter, DeadLetterHead, DeadLetterRecord } from '../../delivery/delivery-store.js'
import { millisToMicros } from '../values.js'
import type { RepositoryContext } from './context.js'
import { databaseMicros } from './database-clock.js'
import { insertOnce } from './insert-once.js'

export interface DeadLetterPage {
  readonly route?: string
  /** Id of the last letter of the page before. */
  readonly after?: string
  /** 1 to 1,000. @default 100 */
  readonly limit?: number
}

/** Messages that could not be handled. `put` resolves when the letter is durable. */
export class DeadLetterRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** Gives the id. A letter that is put again under its id (a replay from the spool) changes nothing. */
  async put(letter: DeadLetter, id: string = randomUUID()): Promise<string> {
    const { db, dialect } = this.#context
    const { payload, ...rest } = letter
    const record = JSON.stringify(rest)
    const row = {
      id,
      failed_us: millisToMicros(letter.failedAt),
      route: letter.route.slice(0, 255),
      topic: letter.topic,
      code: letter.error.code,
      record,
      body: payload,
      bytes: Buffer.byteLength(record) + payload.length,
    }
    await insertOnce(dialect, db.insertInto('routemq_dead_letters').values(row))
    return id
  }

  /** Newest first, without their payloads. */
  async list(page: DeadLetterPage = {}): Promise<DeadLetterHead[]> {
    const { db } = this.#context
    const limit = Math.min(1_000, Math.max(1, page.limit ?? 100))
    let query = db
      .selectFrom('routemq_dead_letters')
      .select(['id', 'record'])
      .orderBy('failed_us', 'desc')
      .orderBy('id', 'desc')
      .limit(limit)
    if (page.route !== undefined) query = query.where('route', '=', page.route.slice(0, 255))
    if (page.after !== undefined) {
      const last = await db
        .selectFrom('routemq_dead_letters')
        .select(['failed_us', 'id'])
        .where('id', '=', page.after)
        .executeTakeFirst()
      if (last === undefined) return []
      query = query.where((where) =>
        where.or([
          where('failed_us', '<', last.failed_us),
          where.and([where('failed_us', '=', last.failed_us), where('id', '<', last.id)]),
        ]),
      )
    }
    return (await query.execute()).map(({ id, record }) => {
      const { payload: _, ...head } = JSON.parse(record) as DeadLetter
      return { ...head, id }
    })
  }

  async get(id: string): Promise<DeadLetterRecord | undefined> {
    const row = await this.#context.db
      .selectFrom('routemq_dead_letters')
      .select(['record', 'body'])
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) return undefined
    const letter = JSON.parse(row.record) as DeadLetter
    // Earlier versions kept the payload in the record.
    return { ...letter, payload: row.body ?? letter.payload, id }
  }

  /**
   * Claims a letter for one run, against all installations on this database.
   *
   * @param termMs milliseconds until it may run again where this runner says nothing more: {@link keep} the claim meanwhile
   * @returns `busy` where another runner has it; undefined where there is no such letter
   */
  async claim(id: string, runner: string, termMs: number): Promise<DeadLetterRecord | 'busy' | undefined> {
    const { db } = this.#context
    const claimed = await db
      .updateTable('routemq_dead_letters')
      .set({ runner, run_until_us: this.#in(termMs) })
      .where('id', '=', id)
      .where(this.#free())
      .executeTakeFirst()
    const letter = await this.get(id)
    return letter !== undefined && claimed.numUpdatedRows === 0n ? 'busy' : letter
  }

  /** Holds a claim for another term. */
  async keep(id: string, runner: string, termMs: number): Promise<void> {
    await this.#context.db
      .updateTable('routemq_dead_letters')
      .set({ run_until_us: this.#in(termMs) })
      .where('id', '=', id)
      .where('runner', '=', runner)
      .execute()
  }

  /** Gives a claim back: the letter may be run again. */
  async release(id: string, runner: string): Promise<void> {
    await this.#context.db
      .updateTable('routemq_dead_letters')
      .set({ runner: null, run_until_us: null })
      .where('id', '=', id)
      .where('runner', '=', runner)
      .execute()
  }

  /** Removes one that has run. */
  async remove(id: string): Promise<void> {
    await this.#context.db.deleteFrom('routemq_dead_letters').where('id', '=', id).execute()
  }

  /** Removes one that does not run. `busy` where it does; false where there is no such letter. */
  async forget(id: string): Promise<boolean | 'busy'> {
    const { db } = this.#context
    const removed = await db
      .deleteFrom('routemq_dead_letters')
      .where('id', '=', id)
      .where(this.#free())
      .executeTakeFirst()
    if (removed.numDeletedRows > 0n) return true
    return (await this.get(id)) === undefined ? false : 'busy'
  }

  #in(termMs: number) {
    return sql<number>`${databaseMicros(this.#context.dialect)} + ${sql.lit(Math.round(termMs * 1e3))}`
  }

  #free() {
    return sql<SqlBool>`(run_until_us is null or run_until_us < ${databaseMicros(this.#context.dialect)})`
  }

  async count(): Promise<number> {
    const { count } = await this.#context.db
      .selectFrom('routemq_dead_letters')
      .select(({ fn }) => fn.countAll<number | bigint>().as('count'))
      .executeTakeFirstOrThrow()
    return Number(count)
  }
}
