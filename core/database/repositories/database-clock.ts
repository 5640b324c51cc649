import { type RawBuilder, sql } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Microseconds since the epoch by the clock of the database: the one clock that all installations on it share. */
export function databaseMicros(dialect: DialectName): RawBuilder<number> {
  if (dialect === 'postgres') return sql<number>`(extract(epoch from clock_timestamp()) * 1000000)::bigint`
  if (dialect === 'mysql') return sql<number>`cast(unix_timestamp(now(6)) * 1000000 as signed)`
  return sql<number>`cast((julianday('now') - 2440587.5) * 86400000000 as integer)`
}
