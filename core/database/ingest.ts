import { randomBytes } from 'node:crypto'
import type { Sample, SampleSink } from '../poller/sample.js'
import { sleep, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { backlogNotice } from './ingest/backlog.js'
import { BatchInsert } from './ingest/batch-insert.js'
import { Durability } from './ingest/durability.js'
import type { IngestOptions, IngestStats } from './ingest/options.js'
import { Pauses } from './ingest/pauses.js'
import { ReadingSpool } from './ingest/reading-spool.js'
import { RowBuffer } from './ingest/row-buffer.js'
import { rowsOf } from './ingest/rows.js'
import { TimelyInsert } from './ingest/timely-insert.js'
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
  readonly #inserts: TimelyInsert
  readonly #spool: ReadingSpool | undefined
  readonly #stop = new AbortController()
  readonly #unsubscribe: () => void
  readonly #pumping: Promise<void>
  readonly #replaying: Promise<void>
  readonly #buffer: RowBuffer
  readonly #pauses: Pauses
  readonly #replayPauses: Pauses
  readonly #durability = new Durability()
  #sequence = 0
  #placing = 0
  #suspendedFor: string | undefined
  /** Why a batch is neither in the database nor in the spool, while one is not. */
  #noPlace: string | undefined
  #flushing = 0
  #waiting: (() => void)[] = []
  #stopping: Promise<void> | undefined
  #count = { accepted: 0, inserted: 0, spooled: 0, replayed: 0, suspended: 0, refused: 0 }

  constructor(options: IngestOptions) {
    const { spool, instance, boot = bootId(), tracing, ...rest } = options
    this.#options = { clock: systemClock, capacity: 100_000, batchRows: 4_000, batchMs: 200, confirmMs: 500, ...rest }
    this.#buffer = new RowBuffer(this.#options)
    const { store, logger } = options
    const onRefused = (row: ReadingWrite, error: string) => this.#refuse(row, error)
    this.#spool = spool && new ReadingSpool(spool, logger)
    const { clock, batchRows, confirmMs } = this.#options
    this.#inserts = new TimelyInsert({
      inserts: new BatchInsert({ readings: store.readings, logger, onRefused, ...(tracing && { tracing }) }),
      clock,
      logger,
      batchRows,
      confirmMs,
      mustWait: this.#spool === undefined,
      onSettled: (inserted) => {
        this.#count.inserted += inserted
        this.#wake()
        this.#replayPauses.end()
      },
    })
    this.#pauses = new Pauses(clock, RETRY_MS)
    this.#replayPauses = new Pauses(clock, RETRY_MS)
    this.source = { instance, boot }
    this.#unsubscribe = store.onState(() => {
      this.#wake()
      this.#replayPauses.end()
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
    // Nothing waits on a disk that takes nothing: that is the trouble, and told as such.
    if (this.#noPlace !== undefined) return undefined
    const { count: batches = 0, bytes = 0, maxBytes = 0 } = this.#spool ?? {}
    return backlogNotice({ failure: this.#inserts.failure, batches, bytes, maxBytes })
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
    this.#replayPauses.end()
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
      const batch = this.#buffer.take(this.#inserts.mostRows)
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
      if (this.#canInsert() && (await this.#inserts.insertInTime(batch))) {
        this.#count.inserted += batch.length
        return this.#foundPlace()
      }
      if (this.#spool !== undefined) {
        const failure = await this.#spool.append(batch)
        if (failure === undefined) {
          this.#count.spooled += batch.length
          this.#replayPauses.end()
          return this.#foundPlace()
        }
        this.#foundNone(failure)
      }
      await this.#pauses.wait()
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
    return this.#options.store.state.name === 'ok' && !this.#inserts.isStalled
  }

  #refuse(row: ReadingWrite | undefined, error: string): void {
    this.#count.refused += 1
    this.#options.logger.error({ row, error }, 'A reading was refused')
  }

  async #replay(spool: ReadingSpool): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (spool.count === 0 || !this.#canInsert() || !(await this.#replayOnce(spool)))
        await this.#replayPauses.wait(true)
    }
  }

  /** True where it got on. */
  async #replayOnce(spool: ReadingSpool): Promise<boolean> {
    try {
      const rows = await spool.replay((batch) => this.#inserts.insert(batch))
      this.#count.replayed += rows ?? 0
      return rows !== undefined
    } catch (error) {
      this.#options.logger.debug({ error: String(error) }, 'Replay of spooled readings waits')
      return false
    }
  }

  #wake(): void {
    this.#buffer.wake()
    if (!this.#canInsert() && !this.#stop.signal.aborted) return
    this.#pauses.end()
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
