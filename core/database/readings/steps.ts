import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Patience } from '../patience.js'
import type { RepositoryContext } from '../repositories/context.js'

/** Rows that SQLite looks at in one go: some 10 ms. A statement of it cannot be ended, only not be followed by another. */
const STEP_ROWS = 20_000

/** Microseconds; undefined is open. */
export interface Step {
  readonly from?: number
  /** Exclusive. */
  readonly to?: number
}

export function withinStep({ from, to }: Step): RawBuilder<SqlBool>[] {
  return [
    ...(from === undefined ? [] : [sql<SqlBool>`time_us >= ${from}`]),
    ...(to === undefined ? [] : [sql<SqlBool>`time_us < ${to}`]),
  ]
}

/**
 * Stretches of time that together hold all rows of a series that meet `conditions`, the newest first. Of a server it is one
 * stretch: it ends a statement that takes too long itself.
 */
export async function* stepsOf(
  { reads, dialect }: RepositoryContext,
  patience: Patience,
  conditions: readonly RawBuilder<SqlBool>[],
): AsyncGenerator<Step> {
  let rest: Step = {}
  while (dialect === 'sqlite') {
    patience.check()
    const { rows } = await sql<{ time_us: number }>`select time_us from routemq_readings
      where ${sql.join([...conditions, ...withinStep(rest)], sql` and `)}
      order by series_id desc, time_us desc limit 1 offset ${sql.lit(STEP_ROWS)}`.execute(reads)
    const [edge] = rows
    if (edge === undefined) break
    patience.check()
    yield { ...rest, from: edge.time_us }
    rest = { to: edge.time_us }
  }
  patience.check()
  yield rest
}
