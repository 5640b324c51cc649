import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Kysely, sql } from 'kysely'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { insertOnce } from './repositories/insert-once.js'
import type { Store } from './store.js'
import type { FrameworkTables } from './tables.js'

export interface RetentionLimits {
  /** Days readings are kept. @default 30 */
  readonly readingDays?: number
  /** Bytes the readings may take. @default 2 GiB */
  readonly readingBytes?: number
  /** Days of events. @default 365 */
  readonly eventDays?: number
  /** Days of the audit. @default 365 */
  readonly auditDays?: number
  /** @default 100,000 */
  readonly deadLetters?: number
  /** Hours an idempotency key is remembered after its outcome. @default 24 */
  readonly claimHours?: number
}

export interface RetentionOptions {
  readonly store: Store
  readonly logger: Logger
  readonly limits?: RetentionLimits
  readonly clock?: Clock
  /** Milliseconds between two rounds. @default 10 minutes */
  readonly everyMs?: number
  /** Folder whose disk is watched: that of the data. @default that of an SQLite file */
  readonly dataDir?: string
  /** Share of the disk below which readings are not stored any more. @default 0.1 */
  readonly minFree?: number
  /** Told when the disk becomes too full for readings, and when it is not any more (undefined). */
  readonly onDisk?: (reason: string | undefined) => void
  /** Share of the disk that is free. For tests. */
  readonly freeShare?: (dir: string) => Promise<number>
}

export interface RetentionReport {
  readonly readings: number
  readonly events: number
  readonly audit: number
  readonly deadLetters: number
  readonly claims: number
}

const DAY_US = 86_400_000_000
/**
 * What readings must have grown by since the last trim to be trimmed again: the tables of servers do not shrink when rows go,
 * new ones fill the gaps.
 */
const GROWN = 1.05
/** Share of what a round should free on SQLite: below it, it was in vain. */
const WORTH = 0.2
/** Where the size after the last trim stands. */
const TRIMMED = 'readings_trimmed_bytes'
/** Rows deleted at once: short transactions, so that ingest does not wait. */
const CHUNK = 5_000
/** How often the disk is looked at. */
const DISK_EVERY_MS = 30_000

/**
 * Keeps every table within its cap, by age and by size, in small steps beside the running product; and watches the disk:
 * below `minFree` readings stop first. Audit, claims and dead letters go on while there is a byte.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #limits: Required<RetentionLimits>
  readonly #clock: Clock
  #cancels: (() => void)[] = []
  #running: Promise<unknown> | undefined
  #stopped = true
  #diskReason: string | undefined

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#limits = {
      readingDays: 30,
      readingBytes: 2 * 1024 ** 3,
      eventDays: 365,
      auditDays: 365,
      deadLetters: 100_000,
      claimHours: 24,
      ...options.limits,
    }
  }

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#repeat(DISK_EVERY_MS, () => this.checkDisk())
    this.#repeat(this.#options.everyMs ?? 600_000, () => this.run())
  }

  /** Waits for the step under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const cancel of this.#cancels) cancel()
    this.#cancels = []
    await this.#running
  }

  /** One round. Does nothing while the database is away. */
  async run(): Promise<RetentionReport | undefined> {
    if (this.#options.store.state.name !== 'ok') return undefined
    const { readingDays, eventDays, auditDays, claimHours } = this.#limits
    const now = this.#clock.now() * 1e3
    const report = {
      readings: (await this.#readingsBefore(now - readingDays * DAY_US)) + (await this.#readingsOverSize(now)),
      events: await this.#before('routemq_events', now - eventDays * DAY_US),
      audit: await this.#before('routemq_audit', now - auditDays * DAY_US),
      deadLetters: await this.#tooManyDeadLetters(),
      claims: await this.#oldClaims(now - (claimHours * DAY_US) / 24),
    }
    await this.#giveSpaceBack()
    const removed = Object.values(report).reduce((sum, count) => sum + count, 0)
    if (removed > 0) this.#options.logger.info({ ...report }, 'Old records were removed')
    return report
  }

  /** Looks at the disk once and tells a change. */
  async checkDisk(): Promise<void> {
    const { store, dataDir, freeShare = freeShareOf, minFree = 0.1, onDisk, logger } = this.#options
    const dir = dataDir ?? (store.dialect === 'sqlite' ? dirname(store.address) : undefined)
    if (dir === undefined) return
    const free = await freeShare(dir)
    // Not at the same mark back again, or it would flap.
    const full = free < (this.#diskReason === undefined ? minFree : minFree + 0.02)
    const reason = full ? `only ${(free * 100).toFixed(1)} % of the disk of ${dir} is free` : undefined
    const changed = (reason === undefined) !== (this.#diskReason === undefined)
    this.#diskReason = reason
    if (!changed) return
    if (reason === undefined) logger.info({ dir }, 'The disk has room again')
    else logger.error({ dir, free }, 'The disk is nearly full: readings are not stored')
    onDisk?.(reason)
  }

  /** Why readings are not stored; undefined while they are. */
  get diskReason(): string | undefined {
    return this.#diskReason
  }

  #repeat(everyMs: number, work: () => Promise<unknown>): void {
    const next = () => {
      if (this.#stopped) return
      this.#cancels.push(this.#clock.after(everyMs, turn, { unref: true }))
      if (this.#cancels.length > 8) this.#cancels.splice(0, 4)
    }
    const turn = () => {
      const before = this.#running
      this.#running = (async () => {
        await before
        if (this.#stopped) return
        await work().catch((error: unknown) => {
          this.#options.logger.warn({ error: String(error) }, 'Old records could not be removed')
        })
      })().finally(next)
    }
    next()
  }

  get #db(): Kysely<FrameworkTables> {
    return this.#options.store.kysely as Kysely<FrameworkTables>
  }

  /** Series by series: the key begins with the series, so each is one range and nothing is scanned. */
  async #readingsBefore(cutoff: number): Promise<number> {
    let removed = 0
    const ids = await this.#db.selectFrom('routemq_series').select('id').orderBy('id').execute()
    for (const { id } of ids) {
      for (;;) {
        if (this.#stopping()) return removed
        const edge = await this.#db
          .selectFrom('routemq_readings')
          .select('time_us')
          .where('series_id', '=', id)
          .where('time_us', '<', cutoff)
          .orderBy('time_us')
          .offset(CHUNK)
          .limit(1)
          .executeTakeFirst()
        const result = await this.#db
          .deleteFrom('routemq_readings')
          .where('series_id', '=', id)
          .where('time_us', '<', edge?.time_us ?? cutoff)
          .executeTakeFirst()
        removed += Number(result.numDeletedRows)
        // Where all the rows of a chunk have one time, the whole of that time goes at once below.
        if (edge === undefined) break
        if (result.numDeletedRows === 0n) {
          const same = await this.#db
            .deleteFrom('routemq_readings')
            .where('series_id', '=', id)
            .where('time_us', '=', edge.time_us)
            .executeTakeFirst()
          removed += Number(same.numDeletedRows)
        }
      }
    }
    return removed
  }

  /** Over the size, the oldest go: by how much of the span they cover, as rows come evenly. */
  async #readingsOverSize(now: number): Promise<number> {
    const { readingBytes } = this.#limits
    let bytes = await this.#readingBytes()
    if (bytes <= readingBytes) {
      await this.#rememberTrim(undefined)
      return 0
    }
    const trimmed = await this.#trimmedBytes()
    // Rebuilt by its administrator it is smaller, and what it grows by counts from there.
    if (trimmed !== undefined && bytes < trimmed) await this.#rememberTrim(bytes)
    if (trimmed !== undefined && bytes <= trimmed * GROWN) return 0
    let removed = 0
    for (let round = 0, vain = 0; round < 20 && bytes > readingBytes && !this.#stopping(); round++) {
      const { oldest } = await this.#db
        .selectFrom('routemq_readings')
        .select(({ fn }) => fn.min('time_us').as('oldest'))
        .executeTakeFirstOrThrow()
      if (oldest === null) break
      const over = Math.min(0.9, (bytes - readingBytes * 0.95) / bytes)
      const gone = await this.#readingsBefore(Number(oldest) + Math.ceil((now - Number(oldest)) * over) + 1)
      removed += gone
      if (gone === 0) break
      if (this.#options.store.dialect !== 'sqlite') {
        // One that was broken off is finished by the next life.
        if (!this.#stopping()) await this.#rememberTrim(bytes)
        break
      }
      await this.#giveSpaceBack()
      const before = bytes
      bytes = await this.#readingBytes()
      vain = before - bytes < over * before * WORTH ? vain + 1 : 0
      // Once may be a single row with a time of long ago.
      if (vain < 2) continue
      this.#options.logger.warn({ bytes }, 'Removing readings does not make the file smaller: something else fills it')
      await this.#rememberTrim(bytes)
      break
    }
    return removed
  }

  /** Bytes that the last trim left, where only growth beyond them is worth another; known over a restart as well. */
  async #trimmedBytes(): Promise<number | undefined> {
    const row = await this.#db.selectFrom('routemq_meta').select('value').where('name', '=', TRIMMED).executeTakeFirst()
    return row === undefined ? undefined : Number(row.value)
  }

  async #rememberTrim(bytes: number | undefined): Promise<void> {
    await this.#db.deleteFrom('routemq_meta').where('name', '=', TRIMMED).execute()
    if (bytes === undefined) return
    const row = this.#db.insertInto('routemq_meta').values({ name: TRIMMED, value: String(bytes) })
    await insertOnce(this.#options.store.dialect, row)
  }

  async #readingBytes(): Promise<number> {
    const { dialect } = this.#options.store
    const query =
      dialect === 'sqlite'
        ? sql<{ bytes: number }>`select (p.page_count - f.freelist_count) * s.page_size as bytes
            from pragma_page_count p, pragma_freelist_count f, pragma_page_size s`
        : dialect === 'postgres'
          ? sql<{ bytes: number }>`select pg_total_relation_size('routemq_readings') as bytes`
          : sql<{ bytes: number }>`select data_length + index_length as bytes from information_schema.tables
              where table_schema = database() and table_name = 'routemq_readings'`
    return Number((await query.execute(this.#db)).rows[0]?.bytes ?? 0)
  }

  async #before(table: 'routemq_events' | 'routemq_audit', cutoff: number): Promise<number> {
    const result = await this.#db.deleteFrom(table).where('time_us', '<', cutoff).executeTakeFirst()
    return Number(result.numDeletedRows)
  }

  async #tooManyDeadLetters(): Promise<number> {
    const last = await this.#db
      .selectFrom('routemq_dead_letters')
      .select('failed_us')
      .orderBy('failed_us', 'desc')
      .offset(this.#limits.deadLetters)
      .limit(1)
      .executeTakeFirst()
    if (last === undefined) return 0
    const result = await this.#db
      .deleteFrom('routemq_dead_letters')
      .where('failed_us', '<=', last.failed_us)
      .executeTakeFirst()
    return Number(result.numDeletedRows)
  }

  async #oldClaims(cutoff: number): Promise<number> {
    const result = await this.#db.deleteFrom('routemq_claims').where('updated_us', '<', cutoff).executeTakeFirst()
    return Number(result.numDeletedRows)
  }

  /** The servers clean up by themselves; SQLite returns the pages it freed, some at a time. */
  async #giveSpaceBack(): Promise<void> {
    if (this.#options.store.dialect !== 'sqlite') return
    for (let round = 0; round < 1_000 && !this.#stopping(); round++) {
      const { rows } = await sql<{ freelist_count: number }>`pragma freelist_count`.execute(this.#db)
      if ((rows[0]?.freelist_count ?? 0) === 0) break
      await sql`pragma incremental_vacuum(2000)`.execute(this.#db)
    }
    await sql`pragma wal_checkpoint(truncate)`.execute(this.#db)
  }

  /** True while a round that `start` began should end. */
  #stopping(): boolean {
    return this.#stopped && this.#running !== undefined
  }
}

async function freeShareOf(dir: string): Promise<number> {
  const { bavail, blocks } = await statfs(dir)
  return blocks === 0 ? 1 : bavail / blocks
}
