import type { ReadingWrite } from './reading.js'

/** Rows of a batch with the numbers that stand for their series and sources, index by index, in the order of the key. */
export interface NumberedBatch {
  readonly rows: readonly ReadingWrite[]
  readonly series: Int32Array
  readonly sources: Int32Array
}

/** Columns of a reading in the order in which every insert names them. */
export const READING_COLUMNS = 'series_id, time_us, source_id, sequence, value, text_value, kind, quality, reason'

/** Rows of a series lie in one page of the key: together, it is found once a batch. A tenth of SQLite's work (benchmarks). */
export function bySeries({ rows, series, sources }: NumberedBatch): NumberedBatch {
  const count = rows.length
  const order = new Float64Array(count)
  for (let n = 0; n < count; n++) order[n] = series[n]! * count + n
  order.sort()
  const sorted = { rows: new Array<ReadingWrite>(count), series: new Int32Array(count), sources: new Int32Array(count) }
  for (let n = 0; n < count; n++) {
    const from = order[n]! % count
    sorted.rows[n] = rows[from]!
    sorted.series[n] = series[from]!
    sorted.sources[n] = sources[from]!
  }
  return sorted
}
