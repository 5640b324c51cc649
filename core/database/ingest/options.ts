import type { Logger } from '../../observability/logger.js'
import type { Tracing } from '../../observability/tracing.js'
import type { SpoolQueue } from '../../spool/late-spool.js'
import type { Clock } from '../../support/clock.js'
import type { ReadingWrite } from '../readings/reading.js'
import type { StoreState } from '../store.js'

/** What ingest needs of a store. */
export interface IngestStore {
  readonly state: StoreState
  onState(listener: (state: StoreState) => void): () => void
  readonly readings: { insertBatch(rows: readonly ReadingWrite[]): Promise<void> }
}

export interface IngestOptions {
  readonly store: IngestStore
  /** Where rows go while the database is away; without it they wait in the buffer, and the poller with them. */
  readonly spool?: SpoolQueue
  readonly logger: Logger
  /** Id of this installation. */
  readonly instance: string
  /** Id of this life of it. @default made of time and chance */
  readonly boot?: string
  readonly clock?: Clock
  /** Rows the buffer holds; when it is full, `accept` waits. @default 100,000 */
  readonly capacity?: number
  /** Rows of a batch; up to four times as many where they have piled up and the database is fast. @default 2,000 */
  readonly batchRows?: number
  /** Milliseconds a row waits for its batch to fill at most. @default 200 */
  readonly batchMs?: number
  /** Milliseconds after which a batch that the database has not confirmed goes to the spool as well. @default 500 */
  readonly confirmMs?: number
  /** Makes a span of each insert. */
  readonly tracing?: Tracing
}

export interface IngestStats {
  /** Rows taken from the poller, and what became of them: the rest is in the buffer or on its way. */
  readonly accepted: number
  readonly inserted: number
  readonly spooled: number
  /** Rows brought from the spool into the database. */
  readonly replayed: number
  /** Oldest rows given up because the spool was full. */
  readonly dropped: number
  /** Rows not taken because storing readings was suspended. */
  readonly suspended: number
  /** Rows that the database refused by themselves, samples whose time is none, and records of the spool that hold no batch. */
  readonly refused: number
  readonly buffered: number
  readonly spoolBytes: number
  readonly spoolRecords: number
}
