import type { RepositoryContext } from '../repositories/context.js'
import type { SqliteThread } from '../sqlite/client.js'
import type { InsertedRows, SqlValue } from '../sqlite/protocol.js'
import { type NumberedBatch, READING_COLUMNS } from './numbered-batch.js'
import { KIND, qualityNumber, type ReadingWrite, storeValue } from './reading.js'

const INTO = `insert into routemq_readings (${READING_COLUMNS})`
const AFTER = 'on conflict do nothing'

/** Packed in numbers, that the thread takes over without a copy. */
export async function insertSqlite(
  { db }: RepositoryContext,
  thread: SqliteThread,
  batch: NumberedBatch,
): Promise<void> {
  const parts = packed(batch)
  if (db.isTransaction) await thread.rows(parts, 'enclosing')
  // In the connection's turn, so that it never lands inside somebody's transaction.
  else await db.connection().execute(() => thread.rows(parts, 'relaxed'))
}

/** Good numbers of one source, the most of them by far, need four of the nine columns: half of the work of binding. */
function packed(batch: NumberedBatch): InsertedRows[] {
  const { rows, sources } = batch
  const source = sources[0]!
  const plain: number[] = []
  const others: number[] = []
  for (let n = 0; n < rows.length; n++) (isPlain(rows[n]!) && sources[n] === source ? plain : others).push(n)
  const parts: InsertedRows[] = []
  if (plain.length > 0) parts.push(plainRows(batch, plain, source))
  if (others.length > 0) parts.push(otherRows(batch, others))
  return parts
}

const isPlain = ({ value, quality, reason }: ReadingWrite) =>
  typeof value === 'number' && Number.isFinite(value) && quality === 'good' && reason === null

function plainRows({ rows, series }: NumberedBatch, which: readonly number[], source: number): InsertedRows {
  const numbers = new Float64Array(which.length * 4)
  let at = 0
  for (const n of which) {
    const row = rows[n]!
    numbers[at++] = series[n]!
    numbers[at++] = row.time_us
    numbers[at++] = row.sequence
    numbers[at++] = row.value as number
  }
  const row = `(?,?,${source},?,?,null,${KIND.number},${qualityNumber('good')},null)`
  return { into: INTO, row, after: AFTER, width: 4, numbers, others: undefined }
}

function otherRows({ rows, series, sources }: NumberedBatch, which: readonly number[]): InsertedRows {
  const numbers = new Float64Array(which.length * 9)
  const others = new Map<number, SqlValue>()
  let at = 0
  for (const n of which) {
    const row = rows[n]!
    const { value, text, kind } = storeValue(row.value)
    if (text !== null) others.set(at + 5, text)
    if (row.reason !== null) others.set(at + 8, row.reason)
    numbers[at++] = series[n]!
    numbers[at++] = row.time_us
    numbers[at++] = sources[n]!
    numbers[at++] = row.sequence
    numbers[at++] = value ?? Number.NaN
    numbers[at++] = Number.NaN
    numbers[at++] = kind
    numbers[at++] = qualityNumber(row.quality)
    numbers[at++] = Number.NaN
  }
  return { into: INTO, row: '(?,?,?,?,?,?,?,?,?)', after: AFTER, width: 9, numbers, others }
}
