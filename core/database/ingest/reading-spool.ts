import type { Logger } from '../../observability/logger.js'
import { FRAME_HEADER_BYTES } from '../../spool/frame.js'
import type { SpoolQueue } from '../../spool/late-spool.js'
import { RouteMQError } from '../../support/errors.js'
import type { ReadingWrite } from '../readings/reading.js'
import { decodeBatch, encodeBatch } from './rows.js'

/** Records brought in at once, and rows of one insert of them. */
const RECORDS = 4
const ROWS = 4_000

/** Batches of readings on disk while the database does not take them. At its bound the oldest are given up, counted and told. */
export class ReadingSpool {
  readonly #spool: SpoolQueue
  readonly #logger: Logger
  #dropped = 0
  #isGivingUp = false
  #unreadable = 0

  constructor(spool: SpoolQueue, logger: Logger) {
    this.#spool = spool
    this.#logger = logger
  }

  /** Records that wait. */
  get count(): number {
    return this.#spool.count
  }

  get bytes(): number {
    return this.#spool.bytes
  }

  get maxBytes(): number {
    return this.#spool.maxBytes
  }

  /** Rows given up at the bound. */
  get dropped(): number {
    return this.#dropped
  }

  /** True from the first row given up until all that wait are in the database. */
  get isGivingUp(): boolean {
    return this.#isGivingUp
  }

  /** Records that are whole and hold no batch: written by something else. */
  get unreadable(): number {
    return this.#unreadable
  }

  /** Undefined when durable. */
  async append(batch: readonly ReadingWrite[]): Promise<Error | undefined> {
    const record = encodeBatch(batch)
    if (record.length + FRAME_HEADER_BYTES > this.#spool.maxBytes && batch.length > 1) return this.#appendHalves(batch)
    for (;;) {
      try {
        await this.#spool.append([record])
        return undefined
      } catch (error) {
        if (!isFull(error) || this.#spool.count === 0) return error as Error
      }
      try {
        await this.#giveUpOldest()
      } catch (error) {
        return error as Error
      }
    }
  }

  /** More than the whole spool takes. */
  async #appendHalves(batch: readonly ReadingWrite[]): Promise<Error | undefined> {
    const half = Math.ceil(batch.length / 2)
    return (await this.append(batch.slice(0, half))) ?? (await this.append(batch.slice(half)))
  }

  /**
   * Brings the oldest records in, and gives the number of their rows; undefined where there is none. The records are removed when `insert` has resolved: where the
   * process ends in between, they are brought in again, and are there once by their identity.
   */
  async replay(insert: (rows: readonly ReadingWrite[]) => Promise<void>): Promise<number | undefined> {
    const records = await this.#spool.peek(RECORDS)
    const last = records.at(-1)
    if (last === undefined) return undefined
    const rows = records.flatMap(({ data }) => this.#decode(data))
    for (let at = 0; at < rows.length; at += ROWS) await insert(rows.slice(at, at + ROWS))
    await this.#spool.ack(last.position)
    if (this.#isGivingUp && this.#spool.count === 0) {
      this.#isGivingUp = false
      this.#logger.info({ dropped: this.#dropped }, 'The spool of readings is empty again')
    }
    return rows.length
  }

  async #giveUpOldest(): Promise<void> {
    const [oldest] = await this.#spool.peek(1)
    if (oldest === undefined) return
    const rows = this.#decode(oldest.data)
    await this.#spool.ack(oldest.position)
    if (!this.#isGivingUp) {
      this.#isGivingUp = true
      this.#logger.error({ bytes: this.#spool.bytes }, 'The spool of readings is full: the oldest are given up')
    }
    this.#dropped += rows.length
  }

  #decode(data: Buffer): ReadingWrite[] {
    try {
      return decodeBatch(data)
    } catch (error) {
      // It would stand in the way of all that follow for ever.
      this.#unreadable += 1
      this.#logger.error({ error: String(error), bytes: data.length }, 'A record of spooled readings cannot be read')
      return []
    }
  }
}

const isFull = (error: unknown) => error instanceof RouteMQError && error.code === 'SPOOL_FULL'
