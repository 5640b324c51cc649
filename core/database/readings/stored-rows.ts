import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { DialectName } from '../dialect.js'
import { READING_COLUMNS } from './numbered-batch.js'

const columns = sql.raw(READING_COLUMNS)
const isPlaced = sql.raw(`exists (select 1 from routemq_readings as placed
  where placed.series_id = fresh.series_id and placed.time_us = fresh.time_us
    and placed.source_id = fresh.source_id and placed.sequence = fresh.sequence)`)

/** What `from` reads where each row counts once: on SQLite the fresh readings as well, unless they are in their places already. */
export function storedRows(dialect: DialectName, conditions: readonly RawBuilder<SqlBool>[]): RawBuilder<unknown> {
  const where = sql.join(conditions, sql` and `)
  if (dialect !== 'sqlite') return sql`routemq_readings where ${where}`
  return sql`(select ${columns} from routemq_readings where ${where}
    union all select distinct ${columns} from routemq_fresh_readings as fresh where ${where} and not ${isPlaced}) as stored`
}
