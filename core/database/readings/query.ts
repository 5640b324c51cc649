import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Quality, RegisterType } from '../../modbus/field.js'
import { RouteMQError } from '../../support/errors.js'
import type { Patience } from '../patience.js'
import type { RepositoryContext } from '../repositories/context.js'
import { isoToMicros } from '../values.js'
import { qualityNumber, type ReadingRecord, type StoredReading, storeValue, toReading } from './reading.js'
import type { Series, SeriesIndex } from './series.js'
import { withinStep } from './steps.js'
import { inUnions, type Ranges, windowsOf } from './windows.js'

export interface ReadingFilter {
  /** @default all devices, where they have at most 500 points together */
  readonly device_id?: string
  /** One point or several. @default all */
  readonly point?: string | readonly string[]
  /** Raw blocks that begin at this address, of targets without points. */
  readonly block?: { readonly register_type: RegisterType; readonly address: number }
  /** From this time on: ISO 8601 with an offset, or microseconds since the epoch. */
  readonly from?: string | number
  /** Before this time. */
  readonly to?: string | number
  /** Exactly this value. */
  readonly value?: number | boolean | string
  /** At least, and at most, this number. */
  readonly min?: number
  readonly max?: number
  readonly quality?: Quality
}

export interface ReadingQuery extends ReadingFilter {
  /** 1 to 1,000. @default 100 */
  readonly limit?: number
  /** `next` of the page before. */
  readonly cursor?: string
}

export interface ReadingPage {
  /** Fewer than asked for, perhaps none, where what the filter asks for is so rare that finding more takes too long. */
  readonly readings: readonly ReadingRecord[]
  /** Cursor of the following page; null where there is none, and only there. */
  readonly next: string | null
}

interface Key {
  readonly time: number
  readonly series: number
  readonly source: number
  readonly sequence: number
}

interface Row extends StoredReading {
  readonly series_id: number
  readonly source_id: number
}

/** Series of which one statement asks for the newest rows; each is an index range of its own. */
const SERIES_A_STATEMENT = 20
export const MAX_PAGE = 1_000

export function pageOf(
  context: RepositoryContext,
  index: SeriesIndex,
  query: ReadingQuery,
  patience: Patience,
): Promise<ReadingPage> {
  return patience.during(() => readPage(context, index, query, patience))
}

async function readPage(
  context: RepositoryContext,
  index: SeriesIndex,
  query: ReadingQuery,
  patience: Patience,
): Promise<ReadingPage> {
  const limit = Math.min(MAX_PAGE, Math.max(1, Math.floor(query.limit ?? 100)))
  const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor)
  const series = await index.find(query)
  const byId = new Map(series.map((one) => [one.id, one]))
  // First: what comes to its place meanwhile is found twice, and not missed.
  const fresh = await freshOf(context, series, query, { after, limit: limit + 1 })
  const stretch = { after, limit: limit + 1, patience }
  const { rows, until } =
    contentsOf(query).length === 0
      ? { rows: await newestOf(context, series, query, stretch, fresh) }
      : await search(context, series, query, stretch, fresh)
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const next = rows.length > limit ? last : until === undefined ? undefined : endOf(until)
  return {
    readings: page.map((row) => toReading(byId.get(row.series_id)!, row)),
    next: next === undefined ? null : encodeCursor(next),
  }
}

/** Microseconds of a bound of a filter. */
export function boundOf(name: string, bound: string | number | undefined): number | undefined {
  if (bound === undefined || typeof bound === 'number') return bound
  const micros = isoToMicros(bound)
  if (micros !== undefined) return micros
  throw new RouteMQError('REQUEST_INVALID', `${name} must be an ISO 8601 time with an offset, not "${bound}"`, {
    details: { field: name },
  })
}

/** The times of the filter as SQL: a range of the key. */
function timesOf(filter: ReadingFilter) {
  const from = boundOf('from', filter.from)
  const to = boundOf('to', filter.to)
  const conditions = []
  if (from !== undefined) conditions.push(sql<SqlBool>`time_us >= ${from}`)
  if (to !== undefined) conditions.push(sql<SqlBool>`time_us < ${to}`)
  return conditions
}

/** What the filter asks of each row that it looks at. */
function contentsOf(filter: ReadingFilter) {
  const conditions = []
  if (filter.min !== undefined) conditions.push(sql<SqlBool>`value >= ${filter.min}`)
  if (filter.max !== undefined) conditions.push(sql<SqlBool>`value <= ${filter.max}`)
  if (filter.quality !== undefined) conditions.push(sql<SqlBool>`quality = ${qualityNumber(filter.quality)}`)
  if (filter.value !== undefined) {
    const { value, text, kind } = storeValue(filter.value)
    if (text !== null) conditions.push(sql<SqlBool>`text_value = ${text}`)
    else conditions.push(sql<SqlBool>`value = ${value}`)
    conditions.push(sql<SqlBool>`kind = ${kind}`)
  }
  return conditions
}

const COLUMNS = sql.raw('series_id, time_us, source_id, sequence, value, text_value as text, kind, quality, reason')

/** On SQLite what was taken last, the newest first. A row may be there more than once. */
async function freshOf(
  { reads, dialect }: RepositoryContext,
  series: readonly Series[],
  filter: ReadingFilter,
  { after, limit }: Pick<Stretch, 'after' | 'limit'>,
): Promise<Row[]> {
  if (dialect !== 'sqlite' || series.length === 0) return []
  const conditions = [
    sql<SqlBool>`series_id in (${sql.join(series.map(({ id }) => id))})`,
    ...timesOf(filter),
    ...contentsOf(filter),
    ...(after === undefined ? [] : [olderThanAny(after)]),
  ]
  const { rows } = await sql<Row>`select distinct ${COLUMNS} from routemq_fresh_readings
    where ${sql.join(conditions, sql` and `)}
    order by time_us desc, series_id desc, source_id desc, sequence desc limit ${sql.lit(limit)}`.execute(reads)
  return rows
}

interface Stretch {
  readonly after: Key | undefined
  /** Rows of each series. */
  readonly limit: number
  readonly patience: Patience
}

/** Where the page is full without what is older than this, microseconds. */
function fullSince(rows: readonly Row[], limit: number): number | undefined {
  return rows.length >= limit ? rows[limit - 1]!.time_us : undefined
}

/** The newest rows of each series and of `fresh`, where nothing is asked of them but their time. */
async function newestOf(
  { reads: db, dialect }: RepositoryContext,
  series: readonly Series[],
  filter: ReadingFilter,
  { after, limit, patience }: Stretch,
  fresh: readonly Row[],
): Promise<readonly Row[]> {
  let rows = fresh
  for (let at = 0; at < series.length; at += SERIES_A_STATEMENT) {
    const some = series.slice(at, at + SERIES_A_STATEMENT)
    const parts = rangesOf(some, filter, after, fullSince(rows, limit)).map((range) => newestRows(range, limit))
    for (const statement of dialect === 'mysql' ? parts : inUnions(parts)) {
      patience.check()
      rows = merged(rows, (await statement.execute(db)).rows, limit)
    }
  }
  return rows
}

interface Found {
  readonly rows: readonly Row[]
  /** Where time was over before the page was full: everything from this time on was looked at, microseconds. */
  readonly until?: number
}

/** Rows that are rare perhaps: looked for window by window, as far as one comes in the time that a page may take. */
async function search(
  context: RepositoryContext,
  series: readonly Series[],
  filter: ReadingFilter,
  { after, limit, patience }: Stretch,
  fresh: readonly Row[],
): Promise<Found> {
  const { reads: db, dialect } = context
  const contents = contentsOf(filter)
  const ranges = rangesOf(series, filter, after, fullSince(fresh, limit))
  let rows = fresh
  let until: number | undefined
  const soFar = () => ({ rows: rows.filter((row) => row.time_us >= until!), until: until! })
  try {
    for await (const window of windowsOf(context, patience, ranges)) {
      const parts = ranges.map((range) => newestRows([...range, ...withinStep(window), ...contents], limit))
      let found = rows
      for (const statement of dialect === 'postgres' ? inUnions(parts) : parts) {
        patience.check()
        found = merged(found, (await statement.execute(db)).rows, limit)
      }
      rows = found
      if (window.from === undefined) break
      until = window.from
      if ((fullSince(rows, limit) ?? Number.NEGATIVE_INFINITY) >= until) break
      if (patience.isWearing) return soFar()
    }
    return { rows }
  } catch (error) {
    // What was found is given all the same, and the next page goes on behind it.
    if (until !== undefined && error instanceof RouteMQError && error.code === 'HISTORY_TIMEOUT') return soFar()
    throw error
  }
}

/** What of each series is asked for. */
function rangesOf(
  series: readonly Series[],
  filter: ReadingFilter,
  after: Key | undefined,
  since: number | undefined,
): Ranges {
  const times = timesOf(filter)
  if (since !== undefined) times.push(sql<SqlBool>`time_us >= ${since}`)
  return series.map(({ id }) => [
    sql<SqlBool>`series_id = ${id}`,
    ...times,
    ...(after === undefined ? [] : olderThan(after, id)),
  ])
}

function newestRows(conditions: readonly RawBuilder<SqlBool>[], limit: number): RawBuilder<Row> {
  return sql<Row>`select ${COLUMNS} from routemq_readings where ${sql.join(conditions, sql` and `)}
    order by series_id desc, time_us desc, source_id desc, sequence desc limit ${sql.lit(limit)}`
}

/** What comes after the key, in the order (time, series, source, sequence) descending, within one series. */
function olderThan(key: Key, series: number) {
  if (series < key.series) return [sql<SqlBool>`time_us <= ${key.time}`]
  if (series > key.series) return [sql<SqlBool>`time_us < ${key.time}`]
  return [
    sql<SqlBool>`time_us <= ${key.time}`,
    sql<SqlBool>`(time_us < ${key.time} or source_id < ${key.source} or (source_id = ${key.source} and sequence < ${key.sequence}))`,
  ]
}

/** The same over all series, where there is no key to be a range of. */
function olderThanAny({ time, series, source, sequence }: Key) {
  return sql<SqlBool>`(time_us, series_id, source_id, sequence) < (${time}, ${series}, ${source}, ${sequence})`
}

/** The newest of both, each once. */
function merged(rows: readonly Row[], more: readonly Row[], limit: number): readonly Row[] {
  if (more.length === 0) return rows
  const all = [...rows, ...more].sort(newestFirst)
  return all.filter((row, at) => at === 0 || newestFirst(all[at - 1]!, row) !== 0).slice(0, limit)
}

function newestFirst(a: Row, b: Row): number {
  return b.time_us - a.time_us || b.series_id - a.series_id || b.source_id - a.source_id || b.sequence - a.sequence
}

/** Before every row of this time: no series has the number 0. */
function endOf(time_us: number): Place {
  return { time_us, series_id: 0, source_id: 0, sequence: 0 }
}

type Place = Pick<Row, 'time_us' | 'series_id' | 'source_id' | 'sequence'>

function encodeCursor(row: Place): string {
  const key = [row.time_us, row.series_id, row.source_id, row.sequence]
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}

const MAX_INT32 = 2 ** 31 - 1

function decodeCursor(cursor: string): Key {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (Array.isArray(key) && key.length === 4 && key.every(Number.isSafeInteger)) {
      const [time, series, source, sequence] = key as [number, number, number, number]
      // The numbers of sources are as wide as their column: PostgreSQL refuses to compare with a wider one.
      if (Math.abs(source) > MAX_INT32) throw new RangeError('no source has this number')
      return { time, series, source, sequence }
    }
  } catch {
    // Told below, with everything else that is no cursor.
  }
  throw new RouteMQError('REQUEST_INVALID', 'The cursor is not one that a page gave', { details: { field: 'cursor' } })
}
