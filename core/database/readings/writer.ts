import { CompiledQuery, sql } from 'kysely'
import mysql from 'mysql2'
import { isDuplicate } from '../connection-errors.js'
import { CopyRows, copyText } from '../postgres-copy.js'
import type { RepositoryContext } from '../repositories/context.js'
import type { SqliteThread } from '../sqlite/client.js'
import { qualityNumber, type ReadingSource, type ReadingWrite, storeValue } from './reading.js'
import type { SeriesIndex } from './series.js'

const COLUMNS = 'series_id, time_us, source_id, sequence, value, text_value, kind, quality, reason'
const WIDTH = 9

/** Inserts batches of readings in the fastest form of each database; a row that is there already changes nothing. */
export class ReadingWriter {
  readonly #context: RepositoryContext
  readonly #series: SeriesIndex
  readonly #thread: SqliteThread | undefined
  #sources = new Map<string, number>()

  constructor(context: RepositoryContext, series: SeriesIndex, thread: SqliteThread | undefined) {
    this.#context = context
    this.#series = series
    this.#thread = thread
  }

  /** Forgets what it knows: the database may be another one now. */
  reset(): void {
    this.#sources = new Map()
  }

  async insert(given: readonly ReadingWrite[]): Promise<void> {
    if (given.length === 0) return
    const rows = given.every(fits) ? given : given.map(fitting)
    if (this.#series.numbersOf(rows) === undefined) await this.#series.ensure(rows)
    let seen: ReadingSource | undefined
    for (const { source } of rows) {
      if (source !== seen && !this.#sources.has(sourceKey(source))) await this.#sourceId(source)
      seen = source
    }
    const sorted = this.#bySeries(rows)
    if (this.#thread !== undefined) await this.#sqlite(this.#thread, sorted)
    else if (this.#context.dialect === 'postgres') await this.#postgres(sorted)
    else await this.#mysql(sorted)
  }

  /** Rows of a series lie in one page of the key: together, it is found once a batch. A tenth of SQLite's work (benchmarks). */
  #bySeries(rows: readonly ReadingWrite[]): readonly ReadingWrite[] {
    const count = rows.length
    const series = this.#series.numbersOf(rows, true)!
    const order = Float64Array.from(series, (id, n) => id * count + n).sort()
    return Array.from(order, (place) => rows[place % count]!)
  }

  /** Ids of series and source, by row; all of them are known. */
  #ids(rows: readonly ReadingWrite[]): (at: number) => { readonly series: number; readonly source: number } {
    const series = this.#series.numbersOf(rows, true)!
    let source: ReadingSource | undefined
    const ids = { series: 0, source: 0 }
    return (at) => {
      const row = rows[at]!
      // Rows of a batch are of one source, but for a replay.
      if (row.source !== source) {
        source = row.source
        ids.source = this.#sources.get(sourceKey(source))!
      }
      ids.series = series[at]!
      return ids
    }
  }

  async #sourceId(source: ReadingSource): Promise<void> {
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
  }

  async #sqlite(thread: SqliteThread, rows: readonly ReadingWrite[]): Promise<void> {
    const numbers = new Float64Array(rows.length * WIDTH)
    const others = new Map<number, string>()
    const idsOf = this.#ids(rows)
    let at = 0
    for (const [n, row] of rows.entries()) {
      const { series, source } = idsOf(n)
      const { value, text, kind } = storeValue(row.value)
      if (text !== null) others.set(at + 5, text)
      if (row.reason !== null) others.set(at + 8, row.reason)
      numbers[at++] = series
      numbers[at++] = row.time_us
      numbers[at++] = source
      numbers[at++] = row.sequence
      numbers[at++] = value ?? Number.NaN
      numbers[at++] = Number.NaN
      numbers[at++] = kind
      numbers[at++] = qualityNumber(row.quality)
      numbers[at++] = Number.NaN
    }
    const insert = { into: `insert into routemq_readings (${COLUMNS})`, after: 'on conflict do nothing' }
    // In the connection's turn, so that it never lands inside somebody's transaction.
    const connection = this.#context.db.connection()
    await connection.execute(() => thread.rows(insert, { width: WIDTH, numbers, others }, 'relaxed'))
  }

  /** A copy knows no conflicts and costs half of an insert that does: rows come a second time only after trouble. */
  async #postgres(rows: readonly ReadingWrite[]): Promise<void> {
    const copy = CompiledQuery.raw(`copy routemq_readings (${COLUMNS}) from stdin`, [new CopyRows(this.#lines(rows))])
    try {
      await this.#context.db.executeQuery(copy)
    } catch (error) {
      if (!isDuplicate(error)) throw error
      await this.#postgresOnce(rows)
    }
  }

  #lines(rows: readonly ReadingWrite[]): string {
    const idsOf = this.#ids(rows)
    let out = ''
    for (const [n, row] of rows.entries()) {
      const { series, source } = idsOf(n)
      const { value, text, kind } = storeValue(row.value)
      const quality = qualityNumber(row.quality)
      out += `${series}\t${row.time_us}\t${source}\t${row.sequence}\t${value ?? '\\N'}\t${text === null ? '\\N' : copyText(text)}`
      out += `\t${kind}\t${quality}\t${row.reason === null ? '\\N' : copyText(row.reason)}\n`
    }
    return out
  }

  async #postgresOnce(rows: readonly ReadingWrite[]): Promise<void> {
    const idsOf = this.#ids(rows)
    const ids = rows.map((_, n) => ({ ...idsOf(n) }))
    const values = rows.map((row) => storeValue(row.value))
    const text = (column: readonly (string | null)[]) => sql`${textArray(column)}::text[]`
    const numbers = (column: readonly (number | null)[], type: string) =>
      sql`${numberArray(column)}::${sql.raw(type)}[]`
    await sql`insert into routemq_readings (${sql.raw(COLUMNS)}) select * from unnest(
      ${numbers(pick(ids, 'series'), 'int')}, ${numbers(pick(rows, 'time_us'), 'bigint')},
      ${numbers(pick(ids, 'source'), 'int')}, ${numbers(pick(rows, 'sequence'), 'bigint')},
      ${numbers(pick(values, 'value'), 'float8')}, ${text(pick(values, 'text'))},
      ${numbers(pick(values, 'kind'), 'smallint')},
      ${numbers(
        rows.map(({ quality }) => qualityNumber(quality)),
        'smallint',
      )}, ${text(pick(rows, 'reason'))}
    ) on conflict do nothing`.execute(this.#context.db)
  }

  async #mysql(rows: readonly ReadingWrite[]): Promise<void> {
    const idsOf = this.#ids(rows)
    const tuples = rows.map((row, n) => {
      const { series, source } = idsOf(n)
      const { value, text, kind } = storeValue(row.value)
      return (
        `(${series},${row.time_us},${source},${row.sequence},${value ?? 'null'},` +
        `${text === null ? 'null' : mysql.escape(text)},${kind},${qualityNumber(row.quality)},` +
        `${row.reason === null ? 'null' : mysql.escape(row.reason)})`
      )
    })
    // The update changes nothing; `insert ignore` would hide other errors.
    await sql
      .raw(
        `insert into routemq_readings (${COLUMNS}) values ${tuples.join(',')} on duplicate key update kind = routemq_readings.kind`,
      )
      .execute(this.#context.db)
  }
}

function pick<Row, Key extends keyof Row>(rows: readonly Row[], key: Key): Row[Key][] {
  return rows.map((row) => row[key])
}

const sourceKey = ({ instance, boot }: ReadingSource) => `${instance}\n${boot}`

const fits = ({ point, unit, reason }: ReadingWrite) =>
  point.length <= 128 && (unit === null || unit.length <= 32) && (reason === null || reason.length <= 64)

/** Names as long as their columns. */
function fitting(row: ReadingWrite): ReadingWrite {
  return {
    ...row,
    point: row.point.slice(0, 128),
    unit: row.unit?.slice(0, 32) ?? null,
    reason: row.reason?.slice(0, 64) ?? null,
  }
}

/** Array literals written here: the driver's general way of doing it costs more than the insert. */
function numberArray(values: readonly (number | null)[]): string {
  let out = '{'
  for (let index = 0; index < values.length; index++) out += `${index === 0 ? '' : ','}${values[index] ?? 'NULL'}`
  return `${out}}`
}

function textArray(values: readonly (string | null)[]): string {
  const item = (value: string | null) => (value === null ? 'NULL' : `"${value.replace(/["\\]/g, '\\$&')}"`)
  return `{${values.map(item).join(',')}}`
}
