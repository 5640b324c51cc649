import type { Logger } from '../../observability/logger.js'
import type { Clock } from '../../support/clock.js'
import type { ReadingWrite } from '../readings/reading.js'
import type { BatchInsert } from './batch-insert.js'
import { BatchSize } from './batch-size.js'

export interface TimelyInsertOptions {
  readonly inserts: BatchInsert
  readonly clock: Clock
  readonly logger: Logger
  readonly batchRows: number
  readonly confirmMs: number
  /** Without a spool there is nowhere else to go: then waiting is the back-pressure. */
  readonly mustWait: boolean
  /** A batch that was given up is settled after all; its rows, where it was inserted. */
  readonly onSettled: (inserted: number) => void
}

/** Inserts that are confirmed in time, or given up: those go on by themselves, and none follows until they are settled. */
export class TimelyInsert {
  readonly #options: TimelyInsertOptions
  readonly #size: BatchSize
  /** Batches that the database has not confirmed in time and that still may come. */
  #stalled = 0
  /** Why the last insert failed, until one succeeds. */
  #failure: string | undefined

  constructor(options: TimelyInsertOptions) {
    this.#options = options
    this.#size = new BatchSize(options.batchRows, options.confirmMs)
  }

  get isStalled(): boolean {
    return this.#stalled > 0
  }

  get failure(): string | undefined {
    return this.#failure
  }

  /** Rows that the next batch should have at most. */
  get mostRows(): number {
    return this.#size.most
  }

  /** True when the database confirmed in time. */
  async insertInTime(batch: readonly ReadingWrite[]): Promise<boolean> {
    const { confirmMs, clock, logger, mustWait, onSettled } = this.#options
    const startedAt = clock.monotonic()
    const inserting = this.insert(batch).then(
      () => true,
      (error: unknown) => {
        logger.debug({ error: String(error) }, 'A batch of readings was not inserted')
        return false
      },
    )
    let cancel = () => {}
    const late = new Promise<undefined>((resolve) => {
      cancel = clock.after(confirmMs, () => resolve(undefined))
    })
    const outcome = await (mustWait ? inserting : Promise.race([inserting, late]))
    cancel()
    if (outcome === undefined) {
      this.#size.late()
      this.#stalled += 1
      this.#failure ??= `no answer in ${confirmMs} ms`
      void inserting.then((inserted) => {
        this.#stalled -= 1
        onSettled(inserted ? batch.length : 0)
      })
      return false
    }
    if (outcome) this.#size.confirmed(batch.length, clock.monotonic() - startedAt)
    return outcome
  }

  async insert(rows: readonly ReadingWrite[]): Promise<void> {
    try {
      await this.#options.inserts.insert(rows)
      this.#failure = undefined
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error)
      throw error
    }
  }
}
