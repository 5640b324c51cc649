import type { Logger } from '../../observability/logger.js'
import { inSpan, type Tracing } from '../../observability/tracing.js'
import { isFaultOfRow, troubleOf } from '../connection-errors.js'
import type { ReadingWrite } from '../readings/reading.js'

export interface BatchInsertOptions {
  readonly readings: { insertBatch(rows: readonly ReadingWrite[]): Promise<void> }
  readonly logger: Logger
  readonly tracing?: Tracing
  /** Told of each row that the database refused by itself. */
  readonly onRefused: (row: ReadingWrite, error: string) => void
}

/** Inserts what can be inserted of a batch: one row that is refused must not hold up the others. */
export class BatchInsert {
  readonly #options: BatchInsertOptions
  /** An error that is neither a row's nor known of a database was told, until an insert succeeds. */
  #toldUnknown = false

  constructor(options: BatchInsertOptions) {
    this.#options = options
  }

  /** Rejects with whatever is not the fault of a row: then all are kept. */
  insert(rows: readonly ReadingWrite[]): Promise<void> {
    const { tracing } = this.#options
    if (tracing === undefined) return this.#insert(rows)
    const attributes = { 'db.collection.name': 'routemq_readings', 'db.operation.batch.size': rows.length }
    return inSpan(tracing, { name: 'insert readings', kind: 'client', attributes }, () => this.#insert(rows))
  }

  async #insert(rows: readonly ReadingWrite[]): Promise<void> {
    try {
      await this.#options.readings.insertBatch(rows)
      this.#toldUnknown = false
    } catch (error) {
      if (!isFaultOfRow(error)) {
        // The store has told of the rest.
        if (troubleOf(error) === undefined && !this.#toldUnknown) {
          this.#toldUnknown = true
          this.#options.logger.error({ error: String(error) }, 'The database does not take readings; they are kept')
        }
        throw error
      }
      const [first] = rows
      if (rows.length === 1 && first !== undefined) return this.#options.onRefused(first, String(error))
      const half = Math.ceil(rows.length / 2)
      await this.#insert(rows.slice(0, half))
      await this.#insert(rows.slice(half))
    }
  }
}
