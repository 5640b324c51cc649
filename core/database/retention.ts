import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Kysely } from 'kysely'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { trimDeadLetters } from './retention/dead-letters.js'
import { giveSpaceBack, type ReadingTrimReport, trimReadings } from './retention/readings.js'
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
  /** Bytes the dead letters may take. @default 512 MiB */
  readonly deadLetterBytes?: number
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

export interface RetentionReport extends ReadingTrimReport {
  readonly events: number
  readonly audit: number
  readonly deadLetters: number
  readonly claims: number
}

const DAY_US = 86_400_000_000
/** How often the disk is looked at. */
const DISK_EVERY_MS = 30_000
/** Events or entries of the audit deleted at once: short transactions, so that what is written does not wait. */
const CHUNK = 5_000

/** Work that is done again and again; never twice at once. */
interface Loop {
  cancel: () => void
  running: Promise<void> | undefined
}

/**
 * Keeps every table within its cap, by age and by size, in small steps beside the running product; and watches the disk:
 * below `minFree` readings stop first. Audit, claims and dead letters go on while there is a byte.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #limits: Required<RetentionLimits>
  readonly #clock: Clock
  #loops: Loop[] = []
  #stopped = true
  #diskReason: string | undefined
  #lettersRemoved = 0

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#limits = {
      readingDays: 30,
      readingBytes: 2 * 1024 ** 3,
      eventDays: 365,
      auditDays: 365,
      deadLetters: 100_000,
      deadLetterBytes: 512 * 1024 ** 2,
      claimHours: 24,
      ...options.limits,
    }
  }

  start(): void {
    if (!this.#stopped) return
    this.#stopped = false
    // Each for itself: a round may take minutes, and the disk fills meanwhile. It may be full from the start.
    const disk = this.#repeat(DISK_EVERY_MS, () => this.checkDisk(), 'The disk could not be looked at')
    disk.now()
    const rounds = this.#repeat(this.#options.everyMs ?? 600_000, () => this.run(), 'Old records could not be removed')
    rounds.later()
  }

  /** Waits for the step under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const { cancel } of this.#loops) cancel()
    await Promise.all(this.#loops.map(({ running }) => running))
    this.#loops = []
  }

  /** One round. Does nothing while the database is away. */
  async run(): Promise<RetentionReport | undefined> {
    const { store, logger } = this.#options
    if (store.state.name !== 'ok') return undefined
    await store.readings.settle()
    const { readingDays, readingBytes, eventDays, auditDays, claimHours } = this.#limits
    const now = this.#clock.now() * 1e3
    const stopping = () => this.#stopping()
    const report = {
      ...(await trimReadings({
        store,
        cutoff: now - readingDays * DAY_US,
        bytes: readingBytes,
        now,
        stopping,
      })),
      events: await this.#before('routemq_events', now - eventDays * DAY_US),
      audit: await this.#before('routemq_audit', now - auditDays * DAY_US),
      deadLetters: await this.#trimLetters(),
      claims: await this.#oldClaims(now - (claimHours * DAY_US) / 24),
    }
    await giveSpaceBack(store, stopping)
    const removed = Object.values(report).reduce((sum, count) => sum + count, 0)
    if (removed > 0) logger.info({ ...report }, 'Old records were removed')
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

  /** Dead letters that went because there were too many. */
  get deadLettersRemoved(): number {
    return this.#lettersRemoved
  }

  /** Why readings are not stored; undefined while they are. */
  get diskReason(): string | undefined {
    return this.#diskReason
  }

  #repeat(everyMs: number, work: () => Promise<unknown>, failed: string) {
    const loop: Loop = { cancel: () => {}, running: undefined }
    const now = () => {
      loop.running = work()
        .then(() => {})
        .catch((error: unknown) => this.#options.logger.warn({ error: String(error) }, failed))
        .finally(later)
    }
    const later = () => {
      if (!this.#stopped) loop.cancel = this.#clock.after(everyMs, now, { unref: true })
    }
    this.#loops.push(loop)
    return { now, later }
  }

  get #db(): Kysely<FrameworkTables> {
    return this.#options.store.kysely as Kysely<FrameworkTables>
  }

  /** A day of them a round at most: a clock that is years ahead for an hour must not take the audit of a year. */
  async #before(table: 'routemq_events' | 'routemq_audit', cutoff: number): Promise<number> {
    const { oldest } = await this.#db
      .selectFrom(table)
      .select(({ fn }) => fn.min('time_us').as('oldest'))
      .executeTakeFirstOrThrow()
    if (oldest === null || Number(oldest) >= cutoff) return 0
    const until = Math.min(cutoff, Number(oldest) + DAY_US)
    for (let removed = 0; ; ) {
      if (this.#stopping()) return removed
      const edge = await this.#db
        .selectFrom(table)
        .select('time_us')
        .where('time_us', '<', until)
        .orderBy('time_us')
        .offset(CHUNK)
        .limit(1)
        .executeTakeFirst()
      const before = edge?.time_us ?? until
      const result = await this.#db.deleteFrom(table).where('time_us', '<', before).executeTakeFirst()
      removed += Number(result.numDeletedRows)
      if (edge === undefined) return removed
      // Where all of a chunk have one time, the whole of that time goes at once.
      if (result.numDeletedRows === 0n) {
        const same = await this.#db.deleteFrom(table).where('time_us', '=', edge.time_us).executeTakeFirst()
        removed += Number(same.numDeletedRows)
      }
    }
  }

  async #trimLetters(): Promise<number> {
    const { store, logger } = this.#options
    const { deadLetters: most, deadLetterBytes: bytes } = this.#limits
    const removed = await trimDeadLetters({ store, logger, most, bytes, stopping: () => this.#stopping() })
    this.#lettersRemoved += removed
    return removed
  }

  async #oldClaims(cutoff: number): Promise<number> {
    const result = await this.#db.deleteFrom('routemq_claims').where('updated_us', '<', cutoff).executeTakeFirst()
    return Number(result.numDeletedRows)
  }

  /** True while a round that `start` began should end. */
  #stopping(): boolean {
    return this.#stopped && this.#loops.length > 0
  }
}

async function freeShareOf(dir: string): Promise<number> {
  const { bavail, blocks } = await statfs(dir)
  return blocks === 0 ? 1 : bavail / blocks
}
