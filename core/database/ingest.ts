import { randomBytes } from 'node:crypto'
import type { Sample, SampleSink } from '../poller/sample.js'
import { sleep, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { backlogNotice } from './ingest/backlog.js'
import { BatchInsert } from './ingest/batch-insert.js'
import { BatchSize } from './ingest/batch-size.js'
import { Durability } from './ingest/durability.js'
import type { IngestOptions, IngestStats } from './ingest/options.js'
import { ReadingSpool } from './ingest/reading-spool.js'
import { RowBuffer } from './ingest/row-buffer.js'
import { rowsOf } from './ingest/rows.js'
import type { ReadingSource, ReadingWrite } from './readings/reading.js'

export type { IngestOptions, IngestStats, IngestStore } from './ingest/options.js'

/** How long to wait before the next attempt where nothing else wakes the loop. */
const RETRY_MS = 500

/**
 * Keeps every sample: buffer -> batches -> database, or the spool while that is away or slow, and from the spool into the
 * database when it is back. A row may be inserted twice and is there once, by its identity (instance, boot, sequence).
 *
 * At the bound of the spool the oldest rows are given up, counted and told. SIGKILL loses what was taken in the last
 * second: `batchMs` + `confirmMs` + one write.
 */
export class Ingest implements SampleSink {
  readonly source: ReadingSource
  readonly #options: Required<Omit<IngestOptions, 'spool' | 'boot' | 'instance' | 'tracing'>>
  readonly #inserts: BatchInsert
  readonly #spool: ReadingSpool | undefined
  readonly #stop = new AbortController()
  readonly #unsubscribe: () => void
  readonly #pumping: Promise<void>
  readonly #replaying: Promise<void>
  readonly #buffer: RowBuffer
  readonly #batch: BatchSize
  readonly #durability = new Durability()
  #sequence = 0
  #placing = 0
  /** Batches that the database has not confirmed in time and that still may come. */
  #stalled = 0
  #suspendedFor: string | undefined
  /** Why a batch is neither in the database nor in the spool, while one is not. */
  #noPlace: string | undefined
  /** Why the last insert failed, until one succeeds. */
  #insertFailure: string | undefined
  #flushing = 0
  readonly #paused = new Set<() => void>()
  #wakeReplay = () => {}
  #waiting: (() => void)[] = []
  #stopping: Promise<void> | undefined
  #count = { accepted: 0, inserted: 0, spooled: 0, replayed: 0, suspended: 0, refused: 0 }

  constructor(options: IngestOptions) {
    const { spool, instance, boot = bootId(), tracing, ...rest } = options
    this.#options = { clock: systemClock, capacity: 100_000, batchRows: 2_000, batchMs: 200, confirmMs: 500, ...rest }
    this.#buffer = new RowBuffer(this.#options)
    this.#batch = new BatchSize(this.#options.batchRows, this.#options.confirmMs)
    const { store, logger } = options
    const onRefused = (row: ReadingWrite, error: string) => this.#refuse(row, error)
    this.#inserts = new BatchInsert({ readings: store.readings, logger, onRefused, ...(tracing && { tracing }) })
    this.#spool = spool && new ReadingSpool(spool, logger)
    this.source = { instance, boot }
    this.#unsubscribe = store.onState(() => {
      this.#wake()
      this.#wakeReplay()
    })
    this.#pumping = this.#pump()
    this.#replaying = this.#spool === undefined ? Promise.resolve() : this.#replay(this.#spool)
  }

  /** Resolves when the rows are in the buffer: at once, unless it is full. Rejects with SHUTTING_DOWN. */
  async accept(samples: readonly Sample[], onDurable?: () => void): Promise<void> {
    while (this.#buffer.length >= this.#options.capacity && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#stop.signal.aborted) throw new RouteMQError('SHUTTING_DOWN', 'Readings are not taken any more')
    const wasEmpty = this.#buffer.length === 0
    let isWhole = true
    for (const sample of samples) isWhole = this.#take(sample) && isWhole
    if (onDurable !== undefined && isWhole) this.#durability.whenDurable(onDurable)
    // In between, the batch that fills up is being waited for already.
    if (wasEmpty || this.#buffer.isFull) this.#buffer.wake()
  }

  /** False where the sample is not to be stored. */
  #take(sample: Sample): boolean {
    const rows = rowsOf(sample, this.source, this.#sequence)
    this.#sequence += rows.length
    this.#count.accepted += rows.length
    if (this.#suspendedFor !== undefined) this.#count.suspended += rows.length
    else if (!rows.every(hasTime)) this.#refuse(rows[0], 'time out of range')
    else {
      this.#buffer.push(rows)
      this.#durability.take(rows.length)
      return true
    }
    return false
  }

  /** Stops storing readings, each counted, until {@link resume}: the disk is nearly full. */
  suspend(reason: string): void {
    if (this.#suspendedFor === undefined) this.#options.logger.error({ reason }, 'Readings are not stored any more')
    this.#suspendedFor = reason
  }

  resume(): void {
    if (this.#suspendedFor === undefined) return
    this.#suspendedFor = undefined
    this.#options.logger.info({ suspended: this.#count.suspended }, 'Readings are stored again')
  }

  /** Resolves when everything taken so far is in the database or durably in the spool. */
  async flush(): Promise<void> {
    this.#flushing += 1
    try {
      while (this.#buffer.length > 0 || this.#placing > 0) {
        this.#wake()
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      }
    } finally {
      this.#flushing -= 1
    }
  }

  /** What an operator must know of readings that are lost or soon will be; undefined while all is well. */
  get trouble(): string | undefined {
    if (this.#noPlace !== undefined) return `neither the database nor the disk takes them (${this.#noPlace})`
    if (this.#spool?.isGivingUp !== true) return undefined
    return `the spool is full, and the oldest are given up (${this.#spool.dropped} so far)`
  }

  /** What people should know of readings that wait for the database; undefined while none wait for long. */
  get notice(): string | undefined {
    const { count: batches = 0, bytes = 0, maxBytes = 0 } = this.#spool ?? {}
    return backlogNotice({ failure: this.#insertFailure, batches, bytes, maxBytes })
  }

  /** Takes no more and flushes. Rows that found no place within `timeoutMs` are lost, counted in the log. */
  stop(timeoutMs = 5_000): Promise<void> {
    this.#stopping ??= this.#shutDown(timeoutMs)
    return this.#stopping
  }

  stats(): IngestStats {
    return {
      ...this.#count,
      refused: this.#count.refused + (this.#spool?.unreadable ?? 0),
      dropped: this.#spool?.dropped ?? 0,
      buffered: this.#buffer.length + this.#placing,
      spoolBytes: this.#spool?.bytes ?? 0,
      spoolRecords: this.#spool?.count ?? 0,
    }
  }

  async #shutDown(timeoutMs: number): Promise<void> {
    const limit = new AbortController()
    const late = sleep(timeoutMs, limit.signal, this.#options.clock).then(
      () => true,
      () => false,
    )
    const flushed = this.flush().then(() => false)
    const inTime = !(await Promise.race([late, flushed]))
    limit.abort()
    if (!inTime) {
      this.#options.logger.error({ rows: this.#buffer.length + this.#placing }, 'Readings were lost: no place in time')
      this.#buffer.clear()
    }
    this.#stop.abort()
    this.#unsubscribe()
    this.#wake()
    this.#wakeReplay()
    this.#tellWaiting()
    // A statement under way on a hung server is not waited for: what it inserts is there, what not is in the spool.
    const ended = Promise.all([this.#pumping, this.#replaying])
    const enough = new AbortController()
    await Promise.race([ended, sleep(timeoutMs, enough.signal, this.#options.clock).catch(() => undefined)])
    enough.abort()
  }

  async #pump(): Promise<void> {
    const underWay = new Set<Promise<void>>()
    for (;;) {
      await this.#buffer.due(
        () => this.#flushing > 0,
        () => this.#stop.signal.aborted,
      )
      if (this.#buffer.length === 0) {
        if (!this.#stop.signal.aborted) continue
        await Promise.all(underWay)
        return
      }
      const batch = this.#buffer.take(this.#batch.most)
      this.#placing += batch.length
      const durable = this.#durability.batch(batch.length)
      const placed = this.#place(batch).then((isPlaced) => {
        if (isPlaced) durable()
        underWay.delete(placed)
        this.#placing -= batch.length
        this.#tellWaiting()
      })
      underWay.add(placed)
      // One is prepared while the database works on the other.
      if (underWay.size >= 2) await Promise.race(underWay)
    }
  }

  /** True when the batch is durable somewhere; false where everything ended before. */
  async #place(batch: readonly ReadingWrite[]): Promise<boolean> {
    while (!this.#stop.signal.aborted) {
      if (this.#canInsert() && (await this.#insertInTime(batch))) return this.#foundPlace()
      if (this.#spool !== undefined) {
        const failure = await this.#spool.append(batch)
        if (failure === undefined) {
          this.#count.spooled += batch.length
          this.#wakeReplay()
          return this.#foundPlace()
        }
        this.#foundNone(failure)
      }
      await this.#pause()
    }
    return false
  }

  #foundNone({ message }: Error): void {
    if (this.#noPlace === undefined) {
      this.#options.logger.error({ error: message }, 'Readings can be neither inserted nor spooled')
    }
    this.#noPlace = message
  }

  #foundPlace(): true {
    if (this.#noPlace !== undefined) this.#options.logger.info({}, 'Readings can be stored again')
    this.#noPlace = undefined
    return true
  }

  #canInsert(): boolean {
    return this.#options.store.state.name === 'ok' && this.#stalled === 0
  }

  /** True when the database confirmed in time. A batch that takes longer goes on by itself; meanwhile none follows. */
  async #insertInTime(batch: readonly ReadingWrite[]): Promise<boolean> {
    const { confirmMs, clock } = this.#options
    const startedAt = clock.monotonic()
    const inserting = this.#insert(batch).then(
      () => true,
      (error: unknown) => this.#notInserted(error),
    )
    let cancel = () => {}
    const late = new Promise<undefined>((resolve) => {
      cancel = clock.after(confirmMs, () => resolve(undefined))
    })
    // Without a spool there is nowhere else to go: then waiting is the back-pressure.
    const outcome = await (this.#spool === undefined ? inserting : Promise.race([inserting, late]))
    cancel()
    if (outcome === undefined) {
      this.#batch.late()
      this.#stalled += 1
      this.#insertFailure ??= `no answer in ${confirmMs} ms`
      void inserting.then((inserted) => {
        if (inserted) this.#count.inserted += batch.length
        this.#stalled -= 1
        this.#wake()
        this.#wakeReplay()
      })
      return false
    }
    if (outcome) {
      this.#batch.confirmed(batch.length, clock.monotonic() - startedAt)
      this.#count.inserted += batch.length
    }
    return outcome
  }

  async #insert(rows: readonly ReadingWrite[]): Promise<void> {
    try {
      await this.#inserts.insert(rows)
      this.#insertFailure = undefined
    } catch (error) {
      this.#insertFailure = error instanceof Error ? error.message : String(error)
      throw error
    }
  }

  #notInserted(error: unknown): false {
    this.#options.logger.debug({ error: String(error) }, 'A batch of readings was not inserted')
    return false
  }

  #refuse(row: ReadingWrite | undefined, error: string): void {
    this.#count.refused += 1
    this.#options.logger.error({ row, error }, 'A reading was refused')
  }

  async #replay(spool: ReadingSpool): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (spool.count === 0 || !this.#canInsert() || !(await this.#replayOnce(spool))) await this.#replayPause()
    }
  }

  /** True where it got on. */
  async #replayOnce(spool: ReadingSpool): Promise<boolean> {
    try {
      const rows = await spool.replay((batch) => this.#insert(batch))
      this.#count.replayed += rows ?? 0
      return rows !== undefined
    } catch (error) {
      this.#options.logger.debug({ error: String(error) }, 'Replay of spooled readings waits')
      return false
    }
  }

  /** Until it is time to try again, or the database is back. Each pause has a wake of its own: two batches may wait. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel()
        this.#paused.delete(wake)
        resolve()
      }
      const cancel = this.#options.clock.after(RETRY_MS, wake)
      this.#paused.add(wake)
    })
  }

  #wake(): void {
    this.#buffer.wake()
    if (!this.#canInsert() && !this.#stop.signal.aborted) return
    for (const wake of [...this.#paused]) wake()
  }

  #replayPause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(RETRY_MS, resolve, { unref: true })
      this.#wakeReplay = () => {
        cancel()
        resolve()
      }
    })
  }

  #tellWaiting(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

const bootId = () => `${Date.now().toString(36)}-${randomBytes(4).toString('hex')}`

function hasTime({ time_us }: ReadingWrite): boolean {
  return Number.isSafeInteger(time_us)
}
