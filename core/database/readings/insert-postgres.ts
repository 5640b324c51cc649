import { CompiledQuery, sql } from 'kysely'
import { isDuplicate } from '../connection-errors.js'
import { CopyRows, copyText } from '../postgres-copy.js'
import type { RepositoryContext } from '../repositories/context.js'
import { type NumberedBatch, READING_COLUMNS } from './numbered-batch.js'
import { qualityNumber, storeValue } from './reading.js'

/** A copy knows no conflicts and costs half of an insert that does: rows come a second time only after trouble. */
export async function insertPostgres({ db }: RepositoryContext, batch: NumberedBatch): Promise<void> {
  const statement = `copy routemq_readings (${READING_COLUMNS}) from stdin`
  try {
    await db.executeQuery(CompiledQuery.raw(statement, [new CopyRows(lines(batch))]))
  } catch (error) {
    // After an error a transaction takes nothing more.
    if (!isDuplicate(error) || db.isTransaction) throw error
    await insertOnce(db, batch)
  }
}

function lines({ rows, series, sources }: NumberedBatch): string {
  let out = ''
  for (let n = 0; n < rows.length; n++) {
    const row = rows[n]!
    const { value, text, kind } = storeValue(row.value)
    out += `${series[n]}\t${row.time_us}\t${sources[n]}\t${row.sequence}\t${value ?? '\\N'}\t${text === null ? '\\N' : copyText(text)}`
    out += `\t${kind}\t${qualityNumber(row.quality)}\t${row.reason === null ? '\\N' : copyText(row.reason)}\n`
  }
  return out
}

async function insertOnce(db: RepositoryContext['db'], { rows, series, sources }: NumberedBatch): Promise<void> {
  const values = rows.map((row) => storeValue(row.value))
  const qualities = rows.map(({ quality }) => qualityNumber(quality))
  const text = (column: readonly (string | null)[]) => sql`${textArray(column)}::text[]`
  const numbers = (column: ArrayLike<number | null>, type: string) => sql`${numberArray(column)}::${sql.raw(type)}[]`
  await sql`insert into routemq_readings (${sql.raw(READING_COLUMNS)}) select * from unnest(
    ${numbers(series, 'int')}, ${numbers(pick(rows, 'time_us'), 'bigint')},
    ${numbers(sources, 'int')}, ${numbers(pick(rows, 'sequence'), 'bigint')},
    ${numbers(pick(values, 'value'), 'float8')}, ${text(pick(values, 'text'))},
    ${numbers(pick(values, 'kind'), 'smallint')}, ${numbers(qualities, 'smallint')}, ${text(pick(rows, 'reason'))}
  ) on conflict do nothing`.execute(db)
}

function pick<Row, Key extends keyof Row>(rows: readonly Row[], key: Key): Row[Key][] {
  return rows.map((row) => row[key])
}

/** Array literals written here: the driver's general way of doing it costs more than the insert. */
function numberArray(values: ArrayLike<number | null>): string {
  let out = '{'
  for (let index = 0; index < values.length; index++) out += `${index === 0 ? '' : ','}${values[index] ?? 'NULL'}`
  return `${out}}`
}

function textArray(values: readonly (string | null)[]): string {
  const item = (value: string | null) => (value === null ? 'NULL' : `"${value.replace(/["\\]/g, '\\$&')}"`)
  return `{${values.map(item).join(',')}}`
}
