import { Patience } from '../patience.js'
import type { RepositoryContext } from '../repositories/context.js'
import { type BucketQuery, type BucketRecord, buckets } from './buckets.js'
import { csvRows } from './csv.js'
import { pageOf, type ReadingFilter, type ReadingPage, type ReadingQuery } from './query.js'
import type { ReadingWrite } from './reading.js'
import { type Series, SeriesIndex } from './series.js'
import { readingBytes } from './size.js'
import { ReadingWriter, type SqliteReadings } from './writer.js'

/** The history: what was measured, when, by whom. */
export class ReadingRepository {
  readonly #context: RepositoryContext
  readonly #series: SeriesIndex
  readonly #writer: ReadingWriter
  readonly #sqlite: SqliteReadings | undefined

  constructor(context: RepositoryContext, sqlite: SqliteReadings | undefined) {
    this.#context = context
    this.#series = new SeriesIndex(context)
    this.#writer = new ReadingWriter(context, this.#series, sqlite)
    this.#sqlite = sqlite
  }

  /** Inserts a batch, once each: rows that stand there already are left alone. A few thousand rows a call are best. */
  insertBatch(rows: readonly ReadingWrite[]): Promise<void> {
    return this.#writer.insert(rows)
  }

  /**
   * Newest first, at most 1,000 a page. Rejects with REQUEST_INVALID where the cursor or a time is not one, and with
   * HISTORY_TIMEOUT where it takes too long.
   *
   * @param signal aborted when nobody waits for the answer any more
   */
  query(query: ReadingQuery, signal?: AbortSignal): Promise<ReadingPage> {
    return pageOf(this.#context, this.#series, query, this.#patience(signal))
  }

  /** Oldest first: count, average, minimum, maximum and last good value of each bucket that has readings. */
  buckets(query: BucketQuery, signal?: AbortSignal): Promise<BucketRecord[]> {
    return buckets(this.#context, this.#series, query, this.#patience(signal))
  }

  /** Lines of CSV with a header, newest first, read page by page while they are taken. */
  csv(filter: ReadingFilter): AsyncIterable<string> {
    return csvRows((query) => this.query(query), filter)
  }

  /** What a device has history of. */
  series(deviceId: string): Promise<Series[]> {
    return this.#series.find({ device_id: deviceId })
  }

  /** Bytes that they take in the database. On SQLite it takes about a second a gigabyte, beside what is written. */
  bytes(): Promise<number> {
    return readingBytes(this.#context)
  }

  /**
   * Resolves when everything inserted so far is in `routemq_readings`: SQLite keeps the last twenty seconds aside. For who asks
   * that table by SQL; queries of this repository see everything.
   */
  async settle(): Promise<void> {
    await this.#sqlite?.fresh.settle()
  }

  #patience(signal: AbortSignal | undefined): Patience {
    return new Patience(this.#context.historyMs, signal)
  }

  /** Forgets cached ids: the database may be another one now. */
  reset(): void {
    this.#series.reset()
    this.#writer.reset()
  }
}
