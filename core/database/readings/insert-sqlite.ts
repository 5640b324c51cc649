import type { InsertedRows, SqlValue } from '../sqlite/protocol.js'
import { type NumberedBatch, READING_COLUMNS } from './numbered-batch.js'
import { KIND, qualityNumber, type ReadingWrite, storeValue } from './reading.js'

/** Where rows go, and what comes behind the values. */
export interface Into {
  readonly table: 'routemq_readings' | 'routemq_fresh_readings'
  readonly after: 'on conflict do nothing' | ''
}

/**
 * A batch in numbers, that the thread takes over without a copy. Good numbers of one source, the most of them by far, need four
 * of the nine columns: half of the work of binding.
 */
export function packed(batch: NumberedBatch, into: Into): InsertedRows[] {
  const { rows, sources } = batch
  const source = sources[0]!
  const plain: number[] = []
  const others: number[] = []
  for (let n = 0; n < rows.length; n++) (isPlain(rows[n]!) && sources[n] === source ? plain : others).push(n)
  const parts: InsertedRows[] = []
  if (plain.length > 0) parts.push(plainRows(batch, plain, source, into))
  if (others.length > 0) parts.push(otherRows(batch, others, into))
  return parts
}

const isPlain = ({ value, quality, reason }: ReadingWrite) =>
  typeof value === 'number' && Number.isFinite(value) && quality === 'good' && reason === null

function plainRows(
  { rows, series }: NumberedBatch,
  which: readonly number[],
  source: number,
  into: Into,
): InsertedRows {
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
  return { ...statement(into), row, width: 4, numbers, others: undefined }
}

function otherRows({ rows, series, sources }: NumberedBatch, which: readonly number[], into: Into): InsertedRows {
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
  return { ...statement(into), row: '(?,?,?,?,?,?,?,?,?)', width: 9, numbers, others }
}

const statement = ({ table, after }: Into) => ({ into: `insert into ${table} (${READING_COLUMNS})`, after })
