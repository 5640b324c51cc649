import { isFaultOfRow } from '../database/connection-errors.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import type { DeadLetter, ParkedMessage } from './delivery-store.js'
import type { DeliveryTables, SpoolPort } from './gateway-ports.js'
import {
  applyRecord,
  decodeRecord,
  encodeRecord,
  pageOf,
  recordsIn,
  type SpooledRecord,
  type SpoolRecord,
  subjectOf,
} from './spool-records.js'
import { letterOfParked } from './stored.js'

const REPLAY_MS = 1_000

export interface TableQueueOptions {
  /** The tables; they reject while the database is away. */
  readonly tables: DeliveryTables
  /** Takes what the database does not. Without one, what cannot be kept is refused. */
  readonly spool?: SpoolPort
  readonly logger: Logger
  readonly clock: Clock
  /** How often the spool is tried while it holds something, milliseconds. @default 1,000 */
  readonly replayMs?: number
}

/**
 * Does in the tables what is to be kept, or keeps it in the spool while the database is away. What went to the spool is
 * done in the database later, in its order; until then whatever concerns the same message or claim follows it there.
 */
export class TableQueue {
  readonly #options: TableQueueOptions
  /** How many operations on a subject wait in the spool. */
  readonly #waiting = new Map<string, number>()
  /** Parked messages that are in the spool and not in the table yet: the position before each. */
  readonly #parked = new Map<string, number>()
  #size = 0
  /** On their way to the spool's disk. */
  #appending = 0
  #replaying: Promise<void> | undefined
  #cancelReplay: (() => void) | undefined
  #stopped = false

  constructor(options: TableQueueOptions) {
    this.#options = options
  }

  /** Operations that wait for the database. */
  get size(): number {
    return this.#size
  }

  /** Whether something about a subject waits for the database. */
  waits(record: SpoolRecord): boolean {
    return this.#waiting.has(subjectOf(record))
  }

  /**
   * Reads what an earlier life left in the spool; each record of it goes to `each`. May be called again where it rejected,
   * as it does while the spool cannot be opened.
   */
  async load(each: (record: SpoolRecord) => void): Promise<void> {
    const { spool } = this.#options
    if (spool === undefined) return
    let before = 0
    try {
      for await (const { record, position } of recordsIn(spool)) {
        this.#note(subjectOf(record), 1)
        if (record.op === 'park') this.#parked.set(record.id, before)
        before = position
        each(record)
      }
    } catch (error) {
      this.#forgetAll()
      throw error
    }
    if (this.#size > 0) this.#replaySoon()
  }

  /** Stops replaying; what is in the spool stays there for the next life. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelReplay?.()
    await this.#replaying
  }

  /**
   * Resolves when it is durable. `onRefused` is told why the table did not take it, and may throw where the spool must not
   * take it either.
   */
  async keep(
    record: SpoolRecord,
    inTable: (tables: DeliveryTables) => Promise<unknown>,
    onRefused: (error: unknown) => void = () => {},
  ): Promise<void> {
    const subject = subjectOf(record)
    const { spool, tables, logger } = this.#options
    if (!this.#waiting.has(subject)) {
      try {
        await inTable(tables)
        return
      } catch (error) {
        onRefused(error)
        if (spool === undefined) throw error
        logger.debug({ op: record.op, err: error }, 'the database did not take it; it goes to the spool')
      }
    }
    this.#note(subject, 1)
    this.#appending += 1
    try {
      const [position] = await spool!.append([encodeRecord(record)])
      if (record.op === 'park') this.#parked.set(record.id, position!)
      this.#replaySoon()
    } catch (error) {
      this.#note(subject, -1)
      throw error
    } finally {
      this.#appending -= 1
    }
  }

  /** A parked message, from where it is now; undefined where it is gone or damaged. */
  async fetchParked(id: string): Promise<ParkedMessage | undefined> {
    const { spool, tables } = this.#options
    const position = this.#parked.get(id)
    if (position !== undefined) {
      const data = await spool!.read(position)
      const record = data === undefined ? undefined : decodeRecord(data)
      if (record?.op === 'park' && record.id === id) return { ...record.message, id }
      // It went into the table meanwhile; or it is damaged, and then the table does not have it either.
    }
    return tables.parked.get(id)
  }

  /** What waits, oldest first. */
  async *records(): AsyncGenerator<SpooledRecord> {
    if (this.#options.spool !== undefined && this.#size > 0) yield* recordsIn(this.#options.spool)
  }

  #note(subject: string, by: 1 | -1): void {
    this.#size += by
    const count = (this.#waiting.get(subject) ?? 0) + by
    if (count > 0) this.#waiting.set(subject, count)
    else this.#waiting.delete(subject)
  }

  /** The spool is empty: what still counts as waiting there was damaged on the disk, and nothing needs to wait for it. */
  #forgetDamaged(): void {
    if (this.#appending > 0 || this.#options.spool!.count > 0) return
    this.#forgetAll()
  }

  #forgetAll(): void {
    this.#waiting.clear()
    this.#parked.clear()
    this.#size = 0
  }

  #replaySoon(): void {
    if (this.#cancelReplay !== undefined || this.#stopped) return
    this.#cancelReplay = this.#options.clock.after(
      this.#options.replayMs ?? REPLAY_MS,
      () => {
        this.#cancelReplay = undefined
        this.#replaying ??= this.#replay()
          .catch((error: unknown) => this.#options.logger.error({ err: error }, 'the spool cannot be read'))
          .finally(() => {
            this.#replaying = undefined
            if (this.#size > 0) this.#replaySoon()
          })
      },
      { unref: true },
    )
  }

  async #replay(): Promise<void> {
    const { spool, tables, logger } = this.#options
    const before = this.#size
    for (;;) {
      const page = await pageOf(spool!)
      if (page.length === 0) this.#forgetDamaged()
      if (page.length === 0 || this.#stopped) break
      for (const { record } of page) {
        try {
          await applyRecord(tables, record)
        } catch (error) {
          if (!isFaultOfRow(error)) {
            logger.debug({ spooled: this.#size, err: error }, 'the database does not take what is in the spool yet')
            return
          }
          // It would stand in the way of everything behind it for ever.
          logger.error(
            { op: record.op, subject: subjectOf(record), err: error },
            'the database refuses a spooled record; it is left out',
          )
          await this.#tellOfRefused(record)
        }
      }
      // Together: until then, what concerns these subjects goes on to the spool and stays in order.
      await spool!.ack(page.at(-1)!.position)
      for (const { record } of page) {
        this.#note(subjectOf(record), -1)
        if (record.op === 'park') this.#parked.delete(record.id)
      }
    }
    if (this.#size === 0) logger.info({ records: before }, 'the database has what was spooled while it was away')
  }

  /** A message was acknowledged on the strength of it: a dead letter says that there was one, if no more can be kept. */
  async #tellOfRefused(record: SpoolRecord): Promise<void> {
    const letter = remainsOf(record, this.#options.clock.now())
    if (letter === undefined) return
    const { tables, logger } = this.#options
    await tables.deadLetters.put(letter.letter, letter.id).catch((error: unknown) => {
      logger.error({ topic: letter.letter.topic, err: error }, 'nor does it take a dead letter without the payload')
    })
  }
}

function remainsOf(record: SpoolRecord, now: number): { readonly letter: DeadLetter; readonly id: string } | undefined {
  const lost = { payload: '', withheld: 'PAYLOAD_LOST' } as const
  if (record.op === 'dead') return { letter: { ...record.letter, ...lost }, id: record.id }
  if (record.op !== 'park') return undefined
  const error = { code: 'PAYLOAD_LOST', message: 'the database refused the parked message' } as const
  return { letter: letterOfParked({ ...record.message, ...lost }, error, now), id: record.id }
}
