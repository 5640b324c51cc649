import { randomUUID } from 'node:crypto'
import { isFaultOfRow } from '../database/connection-errors.js'
import type { EntryInput } from '../database/repositories/log-repositories.js'
import type { Logger } from '../observability/logger.js'
import type { SpoolQueue } from '../spool/late-spool.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'

export interface JournalOptions<Entry extends EntryInput> {
  /** What it keeps, for logs: `audit`. */
  readonly name: string
  readonly spool: SpoolQueue
  /** True while the database takes rows. */
  readonly writable: () => boolean
  /** Writes each entry once, by its id. */
  readonly write: (entries: readonly Entry[]) => Promise<void>
  readonly logger: Logger
  readonly clock?: Clock
  /** Milliseconds until entries that wait are tried again though nothing said that the database is back. @default 1,000 */
  readonly retryMs?: number
  /** Milliseconds after which an entry that the database has not confirmed goes to the spool as well. @default 500 */
  readonly confirmMs?: number
}

const REPLAY_BATCH = 500
const CONFIRM_MS = 500
/** Share of its spool that a journal may fill before people are told. */
const NOTICE_FROM = 0.5
/** For so long the disk is taken to be as it was when it last took something, milliseconds. */
const PROOF_MS = 1_000
/** Entries kept in memory while neither database nor disk takes any. */
const UNKEPT = 1_000

/**
 * Rows that must outlive the absence of the database: written to it, or to the spool while it is away, and moved over
 * when it is back. `put` resolves when the entry is durable in one of the two. An entry has its id and time before it is
 * written anywhere, so that one whose answer was lost is there once.
 */
export class Journal<Entry extends EntryInput> {
  readonly #options: JournalOptions<Entry>
  readonly #clock: Clock
  #replaying: Promise<void> | undefined
  #cancelRetry: (() => void) | undefined
  #stopped = false
  /** What found no place; put first as soon as there is one. */
  #unkept: Entry[] = []
  /** Why entries find no place, while they find none. */
  #refusal: string | undefined
  /** Monotonic time at which the disk last took something. */
  #provedAt = Number.NEGATIVE_INFINITY
  #cancelLook: (() => void) | undefined

  constructor(options: JournalOptions<Entry>) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Entries that wait for the database. */
  get waiting(): number {
    return this.#options.spool.count
  }

  /** Said while there is time to do something: when the spool is full, nothing that must be journalled may happen. */
  get notice(): string | undefined {
    const { name, spool } = this.#options
    const share = spool.bytes / spool.maxBytes
    if (share < NOTICE_FROM) return undefined
    return `what waits for the database fills ${Math.floor(share * 100)} % of the ${name} spool (${spool.maxBytes} bytes)`
  }

  /** Why nothing may happen that must be journalled: neither the database nor the disk takes entries. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  /**
   * Before a fact is made that must be kept: undefined where it will be, else an attempt to keep what could not be kept
   * so far, or a look at whether the disk takes entries while the database does not.
   *
   * @throws AUDIT_UNAVAILABLE
   */
  ready(): Promise<void> | undefined {
    const hasPlace = this.#options.writable() || this.#clock.monotonic() - this.#provedAt < PROOF_MS
    return this.#unkept.length === 0 && hasPlace ? undefined : this.#findPlace()
  }

  /** Looks now whether entries find a place, and again until the database takes them. Call it when that is away. */
  watch(): void {
    if (this.#cancelLook === undefined) this.#look()
  }

  /** Rejects where it can be kept nowhere; it is then kept as soon as it can be, while the process lives. */
  async put(given: Entry): Promise<void> {
    const entry = { id: randomUUID(), at: this.#clock.now(), ...given }
    try {
      await this.ready()
      await this.#keep(entry)
    } catch (error) {
      if (this.#unkept.length < UNKEPT) this.#unkept.push(entry)
      else this.#options.logger.error({ entry, journal: this.#options.name }, 'there is no place left for an entry')
      if (this.#refusal === undefined) this.#refuse(reasonOf(error))
      this.watch()
      throw error
    }
  }

  /** Moves what waits into the database. Call when it is back; safe to call at any time. */
  replay(): Promise<void> {
    this.#replaying ??= this.#replay()
    return this.#replaying
  }

  /** Ends the move that is under way; what waits stays in the spool for the next life. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelRetry?.()
    this.#cancelLook?.()
    await this.#replaying
  }

  async #keep(entry: Entry): Promise<void> {
    const { spool, writable } = this.#options
    // What waits goes first, so that the database sees entries in their order.
    const written = writable() && spool.count === 0 ? this.#writeAlone(entry) : undefined
    if (written !== undefined && (await this.#inTime(written))) return
    try {
      await spool.append([Buffer.from(JSON.stringify(entry))])
    } catch (error) {
      if (await written) return
      throw error
    }
    this.#provedAt = this.#clock.monotonic()
    if (writable()) void this.replay()
  }

  /** True when the database has the entry. Never rejects. */
  async #writeAlone(entry: Entry): Promise<boolean> {
    const { write, logger, name } = this.#options
    try {
      await write([entry])
      return true
    } catch (error) {
      logger.warn({ error, journal: name }, 'the database did not take an entry; it waits in the spool')
      return false
    }
  }

  /** What is confirmed late is in the spool too, and there once: a database that only hangs must not hold up the proof. */
  async #inTime(written: Promise<boolean>): Promise<boolean> {
    let cancel = () => {}
    const late = new Promise<false>((resolve) => {
      cancel = this.#clock.after(this.#options.confirmMs ?? CONFIRM_MS, () => resolve(false))
    })
    const outcome = await Promise.race([written, late])
    cancel()
    return outcome
  }

  async #findPlace(): Promise<void> {
    const { name, spool, writable } = this.#options
    try {
      // Twice at once is harmless: an entry is there once, by its id.
      for (let entry = this.#unkept[0]; entry !== undefined; entry = this.#unkept[0]) {
        await this.#keep(entry)
        if (this.#unkept[0] === entry) this.#unkept.shift()
      }
      if (!writable()) {
        await spool.tryWriting()
        this.#provedAt = this.#clock.monotonic()
      }
      this.#accept()
    } catch (cause) {
      this.#refuse(reasonOf(cause))
      const message = `Neither the database nor the disk takes the ${name}: ${this.#refusal}`
      throw new RouteMQError('AUDIT_UNAVAILABLE', message, { cause })
    }
  }

  /** What lasts is told when it begins and when it ends. */
  #refuse(reason: string): void {
    const { name, logger } = this.#options
    if (this.#refusal === undefined) logger.error({ journal: name, reason }, 'entries can be kept nowhere')
    this.#refusal = reason
  }

  #accept(): void {
    const { name, logger } = this.#options
    if (this.#refusal !== undefined) logger.info({ journal: name }, 'entries can be kept again')
    this.#refusal = undefined
  }

  #look(): void {
    this.#cancelLook = () => {}
    const later = () => {
      this.#cancelLook = undefined
      if (this.#stopped || (this.#options.writable() && this.#unkept.length === 0)) return
      this.#cancelLook = this.#clock.after(this.#options.retryMs ?? 1_000, () => this.#look(), { unref: true })
    }
    void this.#findPlace().then(later, later) // Where it failed, `refusal` says why.
  }

  async #replay(): Promise<void> {
    const { spool, writable, logger, name } = this.#options
    // Where nothing waits it would end before its caller has noted that it runs, and would be noted for ever.
    await undefined
    try {
      while (spool.count > 0 && writable() && !this.#stopped) {
        const batch = await spool.peek(REPLAY_BATCH)
        const last = batch.at(-1)
        if (last === undefined) break
        await this.#write(batch.flatMap(({ data }) => this.#parse(data)))
        await spool.ack(last.position)
      }
    } catch (error) {
      logger.warn({ error, journal: name }, 'entries go on waiting in the spool')
      this.#retryLater()
    } finally {
      // Before anything else runs: an entry that came meanwhile must start a move of its own.
      this.#replaying = undefined
    }
  }

  /** One that is none would stand in the way of all that follow for ever: it goes to the log instead. */
  #parse(data: Buffer): Entry[] {
    const { logger, name } = this.#options
    try {
      return [JSON.parse(data.toString()) as Entry]
    } catch (error) {
      logger.error({ error, record: data.toString(), journal: name }, 'a record of the spool is no entry')
      return []
    }
  }

  /** Writes them together, or one by one where the database refuses one of them; that one goes to the log instead. */
  async #write(entries: readonly Entry[]): Promise<void> {
    const { write, logger, name } = this.#options
    if (entries.length === 0) return
    try {
      await write(entries)
    } catch (error) {
      if (!isFaultOfRow(error)) throw error
      if (entries.length === 1)
        logger.error({ error, entry: entries[0], journal: name }, 'the database refuses an entry')
      else for (const entry of entries) await this.#write([entry])
    }
  }

  #retryLater(): void {
    this.#cancelRetry?.()
    if (this.#stopped) return
    const again = () => void this.replay()
    this.#cancelRetry = this.#clock.after(this.#options.retryMs ?? 1_000, again, { unref: true })
  }
}

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
