import { sql } from 'kysely'
import mysql from 'mysql2'
import type { RepositoryContext } from '../repositories/context.js'
import { type NumberedBatch, READING_COLUMNS } from './numbered-batch.js'
import { qualityNumber, storeValue } from './reading.js'

export async function insertMysql({ db }: RepositoryContext, { rows, series, sources }: NumberedBatch): Promise<void> {
  const tuples = rows.map((row, n) => {
    const { value, text, kind } = storeValue(row.value)
    return (
      `(${series[n]},${row.time_us},${sources[n]},${row.sequence},${value ?? 'null'},` +
      `${text === null ? 'null' : mysql.escape(text)},${kind},${qualityNumber(row.quality)},` +
      `${row.reason === null ? 'null' : mysql.escape(row.reason)})`
    )
  })
  // The update changes nothing; `insert ignore` would hide other errors.
  const statement = `insert into routemq_readings (${READING_COLUMNS}) values ${tuples.join(',')}`
  await sql.raw(`${statement} on duplicate key update kind = routemq_readings.kind`).execute(db)
}
