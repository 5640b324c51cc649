import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { type Duration, parseDuration } from '../../support/duration.js'
import { RouteMQError } from '../../support/errors.js'
import type { Patience } from '../patience.js'
import type { RepositoryContext } from '../repositories/context.js'
import { microsToIso } from '../values.js'
import { checkZone, dayBoundaries } from './days.js'
import { boundOf, MAX_PAGE } from './query.js'
import { KIND } from './reading.js'
import type { Series, SeriesIndex } from './series.js'
import { stepsOf } from './steps.js'
import { storedRows } from './stored-rows.js'

export interface BucketQuery {
  readonly device_id: string
  readonly point: string
  /** ISO 8601 with an offset, or microseconds since the epoch. */
  readonly from: string | number
  /** Exclusive. */
  readonly to: string | number
  /** Length of a bucket (`10s`, `15m`), counted from the epoch; or calendar days in `tz`. */
  readonly every: Duration | 'day'
  /** IANA time zone of `day`. @default UTC */
  readonly tz?: string
}

export interface BucketRecord {
  /** ISO 8601 UTC; the end is the start of the following bucket. */
  readonly start: string
  readonly end: string
  /** Readings that have a number. */
  readonly count: number
  readonly avg: number | null
  readonly min: number | null
  readonly max: number | null
  /** A 64-bit integer beyond 2^53 is its decimal text, exactly. */
  readonly last: number | string | null
}

interface Aggregate {
  readonly bucket: number
  readonly count: number | bigint
  readonly avg: number | null
  readonly min: number | null
  readonly max: number | null
  readonly last_us: number
}

/** Buckets that one statement computes where each is a range of its own. */
const RANGES_A_STATEMENT = 100

/** As long as a day with a change of the clock: a range has at least as many days as this says. */
const LONGEST_DAY_US = 25 * 3_600 * 1e6

export function buckets(
  context: RepositoryContext,
  index: SeriesIndex,
  query: BucketQuery,
  patience: Patience,
): Promise<BucketRecord[]> {
  return patience.during(() => readBuckets(context, index, query, patience))
}

async function readBuckets(
  context: RepositoryContext,
  index: SeriesIndex,
  query: BucketQuery,
  patience: Patience,
): Promise<BucketRecord[]> {
  const from = boundOf('from', query.from)!
  const to = boundOf('to', query.to)!
  const { tz = 'UTC' } = query
  const isDaily = query.every === 'day'
  const width = query.every === 'day' ? 0 : widthOf(query.every)
  refuseOver(isDaily ? Math.floor((to - from) / LONGEST_DAY_US) : Math.ceil((to - from) / width))
  if (isDaily) checkZone(tz)
  const [series] = await index.find({ device_id: query.device_id, point: query.point })
  if (series === undefined || to <= from) return []
  // Days are looked up in the calendar one by one: only where there is something to count.
  const ranges = isDaily ? dayBoundaries(from, to, tz) : undefined
  if (ranges !== undefined) refuseOver(ranges.length - 1)
  const parts: Aggregate[] = []
  const whole = [
    sql<SqlBool>`series_id = ${series.id}`,
    sql<SqlBool>`time_us >= ${from}`,
    sql<SqlBool>`time_us < ${to}`,
  ]
  for await (const step of stepsOf(context, patience, whole)) {
    const span = { from: Math.max(from, step.from ?? from), to: Math.min(to, step.to ?? to) }
    const some =
      ranges === undefined
        ? await fixed(context, series, span, width)
        : await ranged(context, series, daysWithin(ranges, span), patience)
    parts.push(...some)
  }
  const found = joined(parts)
  const last = await lastValues(context, series, found)
  return found.map(({ bucket, count, avg, min, max, last_us }) => ({
    start: microsToIso(ranges?.[bucket] ?? bucket * width),
    end: microsToIso(ranges?.[bucket + 1] ?? (bucket + 1) * width),
    count: Number(count),
    avg: avg === null ? null : Number(avg),
    min,
    max,
    last: last.get(last_us) ?? null,
  }))
}

function refuseOver(number: number): void {
  if (number <= MAX_PAGE) return
  throw new RouteMQError('REQUEST_INVALID', `That is ${number} buckets; at most ${MAX_PAGE} can be asked for`, {
    details: { field: 'every', buckets: number },
  })
}

function widthOf(every: Duration): number {
  const millis = parseDuration(every)
  if (millis !== undefined && millis >= 1) return Math.round(millis * 1e3)
  throw new RouteMQError('REQUEST_INVALID', `every must be a duration of at least 1ms or \`day\`, not "${every}"`, {
    details: { field: 'every' },
  })
}

const AGGREGATES = sql.raw(
  'count(value) as count, avg(value) as avg, min(value) as min, max(value) as max, max(time_us) as last_us',
)

/** Microseconds; the end is exclusive. */
interface Span {
  readonly from: number
  readonly to: number
}

function numbersOf(series: Series, { from, to }: Span): RawBuilder<SqlBool>[] {
  return [
    sql<SqlBool>`series_id = ${series.id}`,
    sql<SqlBool>`time_us >= ${from}`,
    sql<SqlBool>`time_us < ${to}`,
    sql<SqlBool>`value is not null`,
  ]
}

async function fixed(
  { reads: db, dialect }: RepositoryContext,
  series: Series,
  { from, to }: Span,
  width: number,
): Promise<Aggregate[]> {
  // Times before 1970 do not occur: integer division rounds down.
  const bucket = sql.raw(dialect === 'mysql' ? `time_us div ${width}` : `time_us / ${width}`)
  const { rows } = await sql<Aggregate>`select ${bucket} as bucket, ${AGGREGATES}
    from ${storedRows(dialect, numbersOf(series, { from, to }))} group by ${bucket}`.execute(db)
  return rows
}

/** The days that a span touches, cut to it. */
function daysWithin(bounds: readonly number[], span: Span): (Span & { readonly bucket: number })[] {
  return bounds.slice(0, -1).flatMap((start, bucket) => {
    const from = Math.max(start, span.from)
    const to = Math.min(bounds[bucket + 1]!, span.to)
    return from < to ? [{ bucket, from, to }] : []
  })
}

async function ranged(
  { reads: db, dialect }: RepositoryContext,
  series: Series,
  days: readonly (Span & { readonly bucket: number })[],
  patience: Patience,
): Promise<Aggregate[]> {
  const out: Aggregate[] = []
  for (let at = 0; at < days.length; at += RANGES_A_STATEMENT) {
    const parts = days.slice(at, at + RANGES_A_STATEMENT).map(
      ({ bucket, ...span }) => sql<Aggregate>`select ${sql.lit(bucket)} as bucket, ${AGGREGATES}
        from ${storedRows(dialect, numbersOf(series, span))}`,
    )
    // MariaDB dies of unions (see newestOf): there one statement a range.
    const statements = dialect === 'mysql' ? parts : [sql<Aggregate>`${sql.join(parts, sql` union all `)}`]
    for (const statement of statements) {
      patience.check()
      const { rows } = await statement.execute(db)
      out.push(...rows.filter(({ count }) => Number(count) > 0))
    }
  }
  return out
}

/** Oldest first; what a step began and the next one ended is one bucket. */
function joined(parts: readonly Aggregate[]): Aggregate[] {
  const buckets = new Map<number, Aggregate>()
  for (const part of parts) {
    const other = buckets.get(part.bucket)
    buckets.set(part.bucket, other === undefined ? part : sumOf(other, part))
  }
  return [...buckets.values()].sort((a, b) => a.bucket - b.bucket)
}

function sumOf(a: Aggregate, b: Aggregate): Aggregate {
  const count = Number(a.count) + Number(b.count)
  return {
    bucket: a.bucket,
    count,
    avg: Number(a.avg) * (Number(a.count) / count) + Number(b.avg) * (Number(b.count) / count),
    min: Math.min(a.min!, b.min!),
    max: Math.max(a.max!, b.max!),
    last_us: Math.max(a.last_us, b.last_us),
  }
}

/** The value at the end of each bucket; of several at the same microsecond, the one with the highest sequence. */
async function lastValues(
  { reads: db, dialect }: RepositoryContext,
  series: Series,
  found: readonly Aggregate[],
): Promise<Map<number, number | string>> {
  if (found.length === 0) return new Map()
  const ends = [
    sql<SqlBool>`series_id = ${series.id}`,
    sql<SqlBool>`time_us in (${sql.join(found.map(({ last_us }) => last_us))})`,
    sql<SqlBool>`value is not null`,
  ]
  const { rows } = await sql<{ time_us: number; value: number; text_value: string | null; kind: number }>`
    select time_us, value, text_value, kind from ${storedRows(dialect, ends)} order by sequence`.execute(db)
  return new Map(
    rows.map(({ time_us, value, text_value, kind }) => [time_us, kind === KIND.integer ? text_value! : value]),
  )
}
