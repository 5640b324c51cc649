import { type Kysely, sql } from 'kysely'
import { type ReadingChunks, readingChunks } from '../hypertable.js'
import { insertOnce } from '../repositories/insert-once.js'
import type { Store } from '../store.js'
import { type FrameworkTables, OF_THIS_DATABASE } from '../tables.js'

/**
 * What readings must have grown by since the last trim to be trimmed again: the tables of servers do not shrink when rows go,
 * new ones fill the gaps.
 */
const GROWN = 1.05
/** How often a trim on SQLite looks whether it was enough: a single row with a time of long ago makes the first one small. */
const ROUNDS = 20
/** Rows deleted at once: short transactions, so that ingest does not wait. */
const CHUNK = 5_000

export interface ReadingTrimOptions {
  readonly store: Store
  /** Times before this are over age, microseconds. */
  readonly cutoff: number
  /** Bytes that readings may take. */
  readonly bytes: number
  /** Wall clock, microseconds. */
  readonly now: number
  /** True while the round should end. */
  readonly stopping: () => boolean
}

export interface ReadingTrimReport {
  /** Rows that were deleted. */
  readonly readings: number
  /** Chunks of a hypertable that were dropped whole. */
  readonly chunks: number
}

/** One round of keeping the readings within their age and size. */
export async function trimReadings(options: ReadingTrimOptions): Promise<ReadingTrimReport> {
  const { store } = options
  const chunks = store.dialect === 'postgres' ? await readingChunks(store.kysely) : undefined
  const trim = new ReadingTrim(options, chunks)
  if (chunks === undefined)
    return { readings: (await trim.before(options.cutoff)) + (await trim.overSize()), chunks: 0 }
  const dropped = (await chunks.dropBefore(options.cutoff)) + (await dropOverSize(chunks, options))
  // The newest chunk alone may be over the size: of that one rows go.
  return { readings: await trim.overSize(), chunks: dropped }
}

/** Drops the oldest but for the last one, until the rest fits. */
async function dropOverSize(chunks: ReadingChunks, { bytes, stopping }: ReadingTrimOptions): Promise<number> {
  let dropped = 0
  for (const end of (await chunks.ends()).slice(0, -1)) {
    if (stopping() || (await chunks.bytes()) <= bytes) break
    dropped += await chunks.dropBefore(end)
  }
  return dropped
}

class ReadingTrim {
  readonly #options: ReadingTrimOptions
  readonly #chunks: ReadingChunks | undefined

  constructor(options: ReadingTrimOptions, chunks: ReadingChunks | undefined) {
    this.#options = options
    this.#chunks = chunks
  }

  get #db(): Kysely<FrameworkTables> {
    return this.#options.store.kysely as Kysely<FrameworkTables>
  }

  /** Series by series: the key begins with the series, so each is one range and nothing is scanned. */
  async before(cutoff: number): Promise<number> {
    let removed = 0
    const ids = await this.#db.selectFrom('routemq_series').select('id').orderBy('id').execute()
    for (const { id } of ids) {
      for (;;) {
        if (this.#options.stopping()) return removed
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
  async overSize(): Promise<number> {
    const { bytes: most, now, store, stopping } = this.#options
    if (store.dialect !== 'sqlite') return this.#overSizeOfServer()
    // As long as the whole file is smaller, nothing needs to be measured.
    if ((await this.#fileBytes()) <= most) return 0
    await store.readings.settle()
    let removed = 0
    for (let round = 0; round < ROUNDS && !stopping(); round++) {
      const bytes = await store.readings.bytes()
      if (bytes <= most) break
      const gone = await this.#removeShare(bytes, most, now)
      removed += gone
      if (gone === 0) break
      await giveSpaceBack(store, stopping)
    }
    return removed
  }

  /** The tables of servers do not shrink when rows go; new ones fill the gaps. */
  async #overSizeOfServer(): Promise<number> {
    const { bytes: most, now, stopping } = this.#options
    const bytes = await this.#bytesOfServer()
    if (bytes <= most) {
      await this.#rememberTrim(undefined)
      return 0
    }
    const trimmed = await this.#trimmedBytes()
    // Rebuilt by its administrator it is smaller, and what it grows by counts from there.
    if (trimmed !== undefined && bytes < trimmed) await this.#rememberTrim(bytes)
    if (trimmed !== undefined && bytes <= trimmed * GROWN) return 0
    const removed = await this.#removeShare(bytes, most, now)
    // One that was broken off is finished by the next life.
    if (removed > 0 && !stopping()) await this.#rememberTrim(bytes)
    return removed
  }

  async #removeShare(bytes: number, most: number, now: number): Promise<number> {
    const oldest = await this.#oldest()
    if (oldest === undefined) return 0
    const over = Math.min(0.9, (bytes - most * 0.95) / bytes)
    return this.before(oldest + Math.ceil((now - oldest) * over) + 1)
  }

  /** The first of each series is one step into the key; of the whole table it would be every row of it. */
  async #oldest(): Promise<number | undefined> {
    const { rows } = await sql<{ oldest: number | null }>`select min(first_us) as oldest from (
      select (select min(r.time_us) from routemq_readings r where r.series_id = s.id) as first_us from routemq_series s
    ) as firsts`.execute(this.#db)
    const oldest = rows[0]?.oldest ?? undefined
    return oldest === undefined ? undefined : Number(oldest)
  }

  /** Bytes that the last trim left, where only growth beyond them is worth another; known over a restart as well. */
  async #trimmedBytes(): Promise<number | undefined> {
    const row = await this.#db
      .selectFrom('routemq_meta')
      .select('value')
      .where('name', '=', OF_THIS_DATABASE.trimmed)
      .executeTakeFirst()
    return row === undefined ? undefined : Number(row.value)
  }

  async #rememberTrim(bytes: number | undefined): Promise<void> {
    await this.#db.deleteFrom('routemq_meta').where('name', '=', OF_THIS_DATABASE.trimmed).execute()
    if (bytes === undefined) return
    const row = this.#db.insertInto('routemq_meta').values({ name: OF_THIS_DATABASE.trimmed, value: String(bytes) })
    await insertOnce(this.#options.store.dialect, row)
  }

  #bytesOfServer(): Promise<number> {
    return this.#chunks === undefined ? this.#options.store.readings.bytes() : this.#chunks.bytes()
  }

  async #fileBytes(): Promise<number> {
    const { rows } = await sql<{ bytes: number }>`select (p.page_count - f.freelist_count) * s.page_size as bytes
      from pragma_page_count p, pragma_freelist_count f, pragma_page_size s`.execute(this.#db)
    return Number(rows[0]?.bytes ?? 0)
  }
}

/** The servers clean up by themselves; SQLite returns the pages it freed, some at a time. */
export async function giveSpaceBack({ dialect, kysely }: Store, stopping: () => boolean): Promise<void> {
  if (dialect !== 'sqlite') return
  for (let round = 0; round < 1_000 && !stopping(); round++) {
    const { rows } = await sql<{ freelist_count: number }>`pragma freelist_count`.execute(kysely)
    if ((rows[0]?.freelist_count ?? 0) === 0) break
    await sql`pragma incremental_vacuum(2000)`.execute(kysely)
  }
  // It waits for nobody: a backup that reads from another process must not hold up what goes through this thread.
  await sql`pragma wal_checkpoint(passive)`.execute(kysely)
}
