import { readFile, rm } from 'node:fs/promises'
import type { TriggerRow } from '../database/repositories/trigger-rows.js'
import type { Logger } from '../observability/logger.js'
import type { TriggerBook, TriggerRecord } from '../poller/trigger-memory.js'
import type { Clock } from '../support/clock.js'
import { writeDurably } from '../support/durable-file.js'

export interface TriggerRecordsOptions {
  readonly file: string
  /** This installation: ROUTEMQ_INSTANCE. */
  readonly owner: string
  /** What installations on one database share, undefined while that is away. @default nothing is shared */
  readonly table?: () => SharedTriggers | undefined
  readonly logger: Logger
  readonly clock: Clock
}

/** `TriggerRows` of the database. */
export interface SharedTriggers {
  look(ids: readonly number[]): Promise<ReadonlyMap<number, TriggerRow>>
  claim(id: number, row: TriggerRow): Promise<void>
  put(id: number, row: TriggerRow): Promise<void>
}

/** A record is written down when its target has had no other for so long: a busy one costs no write for each. */
const REST_MS = 1_000
/** A database that takes longer is no reason not to poll. */
const ASK_MS = 2_000

/**
 * The last record of each trigger, over restarts and over the death of an installation. What is written down holds: it is
 * taken back, durably, before the next record goes out, and written again once that one is durable. In between a target has
 * no last record, so that an end at any moment leads to a record that is made twice, never to one that is not made.
 *
 * The file is this installation's; the table says who polled a target last. Where that was another, its word counts.
 */
export class TriggerRecords implements TriggerBook {
  readonly #options: TriggerRecordsOptions
  /** Durable, and the last of their targets. */
  readonly #known: Map<number, TriggerRecord>
  /** Whom the file speaks of, or may. */
  #inFile: ReadonlySet<number>
  #isWritten = true
  #writing: Promise<void> = Promise.resolve()
  #nextWrite: Promise<void> | undefined
  #isFailing = false
  /** Targets of which the table may say something else. */
  readonly #unshared = new Set<number>()
  readonly #claimed = new Set<number>()
  #sharing: Promise<void> | undefined
  #cancelRest: (() => void) | undefined
  #stopped = false

  private constructor(options: TriggerRecordsOptions, known: Map<number, TriggerRecord>) {
    this.#options = options
    this.#known = known
    this.#inFile = new Set(known.keys())
  }

  static async open(options: TriggerRecordsOptions): Promise<TriggerRecords> {
    return new TriggerRecords(options, new Map(await read(options)))
  }

  async recall(ids: readonly number[]): Promise<ReadonlyMap<number, TriggerRecord>> {
    const table = this.#options.table?.()
    // Where others may know better and cannot be asked, nothing is certain.
    if (table !== undefined && !(await this.#inTime((isLate) => this.#takeOver(table, ids, isLate)))) {
      await this.begin(ids)
    }
    return new Map(
      ids.flatMap((id) => {
        const record = this.#known.get(id)
        return record === undefined ? [] : [[id, record]]
      }),
    )
  }

  async begin(ids: readonly number[]): Promise<void> {
    for (const id of ids) this.#change(id, undefined)
    this.#share()
    if (ids.some((id) => this.#inFile.has(id))) await this.#write()
  }

  settle(id: number, record: TriggerRecord): void {
    this.#change(id, record)
    this.#restLater()
  }

  /** Writes down what is known. Call it when records are durable that can be, and before the database is closed. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelRest?.()
    await this.#write()
    await this.#inTime(async () => {
      await this.#sharing
      await this.#shareAll()
    })
  }

  #change(id: number, record: TriggerRecord | undefined): void {
    if (record === undefined) this.#known.delete(id)
    else this.#known.set(id, record)
    this.#isWritten = false
    if (this.#options.table !== undefined) this.#unshared.add(id)
  }

  #restLater(): void {
    if (this.#cancelRest !== undefined || this.#stopped) return
    const rest = () => {
      this.#cancelRest = undefined
      void this.#write()
      this.#share()
    }
    this.#cancelRest = this.#options.clock.after(REST_MS, rest, { unref: true })
  }

  /** One write at a time; one that runs may have begun before the last change, so another follows it. */
  #write(): Promise<void> {
    this.#nextWrite ??= this.#writing.then(() => {
      this.#nextWrite = undefined
      this.#writing = this.#writeNow()
      return this.#writing
    })
    return this.#nextWrite
  }

  async #writeNow(): Promise<void> {
    const { file, logger } = this.#options
    if (this.#isWritten) return
    this.#isWritten = true
    const entries = [...this.#known]
    const ids = entries.map(([id]) => id)
    this.#inFile = new Set([...this.#inFile, ...ids])
    try {
      await writeDurably(file, `${JSON.stringify(entries)}\n`)
      this.#inFile = new Set(ids)
      this.#isFailing = false
    } catch (error) {
      if (!this.#isFailing) {
        logger.warn({ error, file }, 'the last records of triggers cannot be written; after a start each is made again')
      }
      this.#isFailing = true
      this.#isWritten = false
      // Better nothing than what does not hold any more.
      const isGone = await rm(file, { force: true }).then(
        () => true,
        () => false,
      )
      if (isGone) this.#inFile = new Set()
      this.#restLater()
    }
  }

  /** What the last owner of these targets knew is what is known, and from now on this installation owns them. */
  async #takeOver(table: SharedTriggers, ids: readonly number[], isLate: () => boolean): Promise<void> {
    const { owner } = this.#options
    const rows = await table.look(ids)
    if (isLate()) return
    const foreign = ids.filter((id) => rows.get(id)?.owner !== owner)
    for (const id of foreign) this.#change(id, parse(rows.get(id)?.record))
    // As soon as the row says that it is ours the file counts.
    await this.#write()
    await Promise.all(foreign.map((id) => table.claim(id, this.#row(id))))
    for (const id of ids) this.#claimed.add(id)
  }

  #row(id: number): TriggerRow {
    const record = this.#known.get(id)
    return { owner: this.#options.owner, record: record === undefined ? null : JSON.stringify(record) }
  }

  #share(): void {
    this.#sharing ??= this.#shareAll().finally(() => {
      this.#sharing = undefined
      // The database was away, or something changed meanwhile.
      if (this.#unshared.size > 0) this.#restLater()
    })
  }

  async #shareAll(): Promise<void> {
    const table = this.#options.table?.()
    if (table === undefined) return
    for (const id of this.#unshared) {
      this.#unshared.delete(id)
      try {
        // Polled while nobody could be asked: what this installation knows is newer than what stands there.
        if (this.#claimed.has(id)) await table.put(id, this.#row(id))
        else await table.claim(id, this.#row(id))
        this.#claimed.add(id)
      } catch (error) {
        this.#options.logger.debug({ error }, 'the last records of triggers wait for the database')
        this.#unshared.add(id)
        return
      }
    }
  }

  /** False where it failed, or is not done in time. */
  async #inTime(work: (isLate: () => boolean) => Promise<unknown>): Promise<boolean> {
    const { clock, logger } = this.#options
    let isLate = false
    let cancel = () => {}
    const late = new Promise<boolean>((resolve) => {
      cancel = clock.after(ASK_MS, () => {
        isLate = true
        resolve(false)
      })
    })
    const done = work(() => isLate).then(
      () => true,
      (error: unknown) => {
        logger.warn({ error }, 'the last records of triggers could not be shared with other installations')
        return false
      },
    )
    return Promise.race([done, late]).finally(cancel)
  }
}

async function read({ file, logger }: TriggerRecordsOptions): Promise<[number, TriggerRecord][]> {
  try {
    const entries: unknown = JSON.parse(await readFile(file, 'utf8'))
    return Array.isArray(entries) ? entries.filter((entry) => Array.isArray(entry) && isRecord(entry[1])) : []
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      logger.warn({ error, file }, 'the last records of triggers cannot be read; each is made again')
    }
    return []
  }
}

function parse(text: string | null | undefined): TriggerRecord | undefined {
  if (text === null || text === undefined) return undefined
  try {
    const record: unknown = JSON.parse(text)
    return isRecord(record) ? record : undefined
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is TriggerRecord {
  const { field, value: last } = (value ?? {}) as Partial<TriggerRecord>
  return typeof field === 'string' && ['number', 'string', 'boolean'].includes(typeof last)
}
