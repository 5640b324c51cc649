import type { RepositoryContext } from '../repositories/context.js'
import type { SqliteThread } from '../sqlite/client.js'
import type { FreshReadings } from './fresh.js'
import { insertMysql } from './insert-mysql.js'
import { insertPostgres } from './insert-postgres.js'
import { packed } from './insert-sqlite.js'
import { bySeries, type NumberedBatch } from './numbered-batch.js'
import type { ReadingSource, ReadingWrite } from './reading.js'
import type { SeriesIndex } from './series.js'

const MAX_REASON = 64
const MAX_POINT = 128
/** As long as a point's may be. */
const MAX_UNIT = 50

/** What readings are written through on SQLite. */
export interface SqliteReadings {
  readonly thread: SqliteThread
  readonly fresh: FreshReadings
}

/** Inserts batches of readings in the fastest form of each database; a row that is there already changes nothing. */
export class ReadingWriter {
  readonly #context: RepositoryContext
  readonly #series: SeriesIndex
  readonly #sqlite: SqliteReadings | undefined
  #sources = new Map<string, number>()

  constructor(context: RepositoryContext, series: SeriesIndex, sqlite: SqliteReadings | undefined) {
    this.#context = context
    this.#series = series
    this.#sqlite = sqlite
  }

  /** Forgets what it knows: the database may be another one now. */
  reset(): void {
    this.#sources = new Map()
  }

  async insert(given: readonly ReadingWrite[]): Promise<void> {
    if (given.length === 0) return
    const { rows, series } = await this.#numbered(given)
    const batch = { rows, series, sources: await this.#sourcesOf(rows) }
    if (this.#sqlite !== undefined) await this.#intoSqlite(this.#sqlite, batch)
    else if (this.#context.dialect === 'postgres') await insertPostgres(this.#context, bySeries(batch))
    else await insertMysql(this.#context, bySeries(batch))
  }

  /** Within a transaction what is inserted is seen in its place at once. */
  async #intoSqlite({ thread, fresh }: SqliteReadings, batch: NumberedBatch): Promise<void> {
    if (!this.#context.db.isTransaction) return fresh.add(batch)
    await thread.rows(packed(batch, { table: 'routemq_readings', after: 'on conflict do nothing' }), 'enclosing')
  }

  async #numbered(given: readonly ReadingWrite[]) {
    const rows = given.every(hasShortReason) ? given : given.map(withShortReason)
    const known = this.#series.numbersOf(rows)
    if (known !== undefined) return { rows, series: known }
    // Names that are longer than their columns are not known as they are.
    const named = rows.map(withShortNames)
    await this.#series.ensure(named)
    return { rows: named, series: this.#series.numbersOf(named, true)! }
  }

  /** Rows of a batch are of one source, but for a replay. */
  async #sourcesOf(rows: readonly ReadingWrite[]): Promise<Int32Array> {
    const sources = new Int32Array(rows.length)
    let source: ReadingSource | undefined
    let id = 0
    for (let n = 0; n < rows.length; n++) {
      const row = rows[n]!
      if (row.source !== source) {
        source = row.source
        id = this.#sources.get(sourceKey(source)) ?? (await this.#sourceId(source))
      }
      sources[n] = id
    }
    return sources
  }

  async #sourceId(source: ReadingSource): Promise<number> {
    const { db, dialect } = this.#context
    const { instance, boot } = source
    const insert = db.insertInto('routemq_sources').values({ instance, boot })
    if (dialect === 'mysql') await insert.onDuplicateKeyUpdate({ boot }).execute()
    else await insert.onConflict((conflict) => conflict.doNothing()).execute()
    const { id } = await db
      .selectFrom('routemq_sources')
      .select('id')
      .where('instance', '=', instance)
      .where('boot', '=', boot)
      .executeTakeFirstOrThrow()
    this.#sources.set(sourceKey(source), id)
    return id
  }
}

const sourceKey = ({ instance, boot }: ReadingSource) => `${instance}\n${boot}`

const hasShortReason = ({ reason }: ReadingWrite) => reason === null || reason.length <= MAX_REASON
const withShortReason = (row: ReadingWrite) => ({ ...row, reason: row.reason?.slice(0, MAX_REASON) ?? null })

const withShortNames = (row: ReadingWrite) =>
  row.point.length <= MAX_POINT && (row.unit === null || row.unit.length <= MAX_UNIT)
    ? row
    : { ...row, point: row.point.slice(0, MAX_POINT), unit: row.unit?.slice(0, MAX_UNIT) ?? null }
