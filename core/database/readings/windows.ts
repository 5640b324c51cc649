import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Patience } from '../patience.js'
import type { RepositoryContext } from '../repositories/context.js'
import { type Step, withinStep } from './steps.js'

/** Rows of each series in the first window: a day of most points. */
const FIRST_ROWS = 5_000
const FEWEST_ROWS = 500
/** A statement of SQLite cannot be ended: so many rows take it some 10 ms. A server ends its own. */
const MOST_ROWS = { sqlite: 20_000, postgres: 200_000, mysql: 200_000 } as const
/** A window that is read in less time is followed by a longer one, and one that takes more by a shorter one, milliseconds. */
const QUICK_MS = 250
const SLOW_MS = 1_000
/** Series asked for in one statement. */
const SERIES_A_STATEMENT = 20

/** Conditions that each series meets. */
export type Ranges = readonly (readonly RawBuilder<SqlBool>[])[]

/**
 * Stretches of time, the newest first, that together hold all rows of several series: what was looked at up to the beginning of
 * one need not be looked at again. However rare what is looked for is, each takes about as long as the one before.
 */
export async function* windowsOf(context: RepositoryContext, patience: Patience, ranges: Ranges): AsyncGenerator<Step> {
  let rows = FIRST_ROWS
  let rest: Step = {}
  for (;;) {
    const startedAt = performance.now()
    const edge = await newestAt(
      context,
      patience,
      ranges.map((range) => [...range, ...withinStep(rest)]),
      rows,
    )
    if (edge === undefined) break
    yield { ...rest, from: edge }
    rest = { to: edge }
    const tookMs = performance.now() - startedAt
    if (tookMs < QUICK_MS) rows = Math.min(MOST_ROWS[context.dialect], rows * 2)
    else if (tookMs > SLOW_MS) rows = Math.max(FEWEST_ROWS, Math.floor(rows / 2))
  }
  yield rest
}

/** The newest time, over the series, before which each has still more than so many rows; undefined where none has. */
async function newestAt(
  { reads, dialect }: RepositoryContext,
  patience: Patience,
  ranges: Ranges,
  rows: number,
): Promise<number | undefined> {
  const parts = ranges.map(
    (range) => sql<{ time_us: number }>`select time_us from routemq_readings where ${sql.join(range, sql` and `)}
      order by series_id desc, time_us desc limit 1 offset ${sql.lit(rows)}`,
  )
  let newest: number | undefined
  for (const statement of dialect === 'postgres' ? inUnions(parts) : parts) {
    patience.check()
    const found = await statement.execute(reads)
    for (const { time_us } of found.rows) newest = Math.max(newest ?? time_us, time_us)
  }
  return newest
}

/** The same statements, several at a time. Not for MariaDB: its 10.11.19 dies of a segmentation fault in `free_tmp_table`. */
export function inUnions<R>(parts: readonly RawBuilder<R>[]): RawBuilder<R>[] {
  const unions: RawBuilder<R>[] = []
  for (let at = 0; at < parts.length; at += SERIES_A_STATEMENT) {
    const some = parts.slice(at, at + SERIES_A_STATEMENT)
    const subqueries = some.map((part, index) => sql`select * from (${part}) as s${sql.lit(index)}`)
    unions.push(sql<R>`${sql.join(subqueries, sql` union all `)}`)
  }
  return unions
}
