import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '../observability/logger.js'
import { RouteMQError } from '../support/errors.js'
import { FRAME_HEADER_BYTES } from './frame.js'
import { HeadFile } from './head-file.js'
import { lockFolder } from './lock.js'
import { type LogRecord, readLog } from './log-reader.js'
import { type Recovered, recover, type SpoolDamage } from './recovery.js'
import { SegmentLog } from './segment-log.js'

export interface SpoolOptions {
  /** Folder of this spool, made when missing; it belongs to the spool alone. */
  readonly dir: string
  /** Bound of what is not acknowledged yet, framing (12 bytes a record) included. Disk use may be a segment more. */
  readonly maxBytes: number
  /** False: an append survives the end of the process but not the loss of power. @default true */
  readonly fsync?: boolean
  /** @default a sixteenth of `maxBytes`, between 64 KiB and 16 MiB */
  readonly segmentBytes?: number
  readonly logger?: Logger
}

/** A record and the position to acknowledge it with. */
export type SpoolRecord = LogRecord

interface Pending {
  readonly records: readonly Buffer[]
  readonly bytes: number
  readonly resolve: (positions: readonly number[]) => void
  readonly reject: (error: unknown) => void
}

/** How much one write takes at most; what waits longer than that goes with the next. */
const WRITE_BYTES = 8 * 1024 * 1024
/** Enough for some records, or a disk that is full but for the next one would seem to have room. */
const TRY_BYTES = 65_536

/**
 * A queue on disk: records are appended at the end, read from the start and removed by acknowledging a position.
 * Appends that wait together are written and synced together. One process writes one spool.
 *
 * Errors: SPOOL_LOCKED (another writer lives), SPOOL_FULL (the bound is reached; nothing was taken), SPOOL_FAILED (the
 * disk refused; nothing was taken, earlier records stand, and the next append tries again).
 */
export class Spool {
  readonly #dir: string
  readonly #maxBytes: number
  readonly #logger: Logger | undefined
  readonly #unlock: () => Promise<void>
  readonly #head: HeadFile
  readonly #log: SegmentLog
  #count: number
  #pending: Pending[] = []
  #pendingBytes = 0
  #writing: Promise<void> | undefined
  /** Reads and acknowledgements, one after the other. */
  #reading: Promise<unknown> = Promise.resolve()
  /** Ends of the records given out and not yet acknowledged, in order: what `ack` counts by. */
  #givenOut: number[] = []
  #damageSeenUpTo: number
  #damage = { tornBytes: 0, skippedStretches: 0, skippedBytes: 0, droppedRecords: 0 }
  #closing: Promise<void> | undefined

  private constructor(options: SpoolOptions, unlock: () => Promise<void>, head: HeadFile, found: Recovered) {
    this.#dir = options.dir
    this.#maxBytes = options.maxBytes
    this.#logger = options.logger
    this.#unlock = unlock
    this.#head = head
    this.#log = new SegmentLog(
      {
        dir: options.dir,
        segmentBytes: options.segmentBytes ?? Math.min(2 ** 24, Math.max(2 ** 16, Math.floor(options.maxBytes / 16))),
        fsync: options.fsync ?? true,
        head: () => head.position,
        logger: options.logger,
      },
      found,
    )
    this.#count = found.count
    this.#damage = { ...found.damage }
    this.#damageSeenUpTo = found.damageSeenUpTo
  }

  /** Opens or makes the spool, cutting an unfinished last write and counting what is damaged. */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { dir, logger } = options
    let unlock: (() => Promise<void>) | undefined
    let head: HeadFile | undefined
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      unlock = await lockFolder(dir)
      head = await HeadFile.open(join(dir, 'head'))
      const found = await recover(dir, head)
      if (found.damage.tornBytes > 0 || found.damage.skippedBytes > 0) {
        logger?.warn({ dir, ...found.damage }, 'The spool was damaged; what is intact goes on')
      }
      return new Spool(options, unlock, head, found)
    } catch (error) {
      await head?.close()
      await unlock?.()
      throw failed(error, dir, 'cannot be opened')
    }
  }

  /** Bytes not acknowledged yet, framing included. */
  get bytes(): number {
    return this.#log.tail - this.#head.position
  }

  /** Records not acknowledged yet. Exact unless records were damaged. */
  get count(): number {
    return this.#count
  }

  get maxBytes(): number {
    return this.#maxBytes
  }

  get damage(): SpoolDamage {
    return this.#damage
  }

  /** Resolves when all of `records` are durable, with the position before each; takes all of them or none. */
  append(records: readonly Buffer[]): Promise<readonly number[]> {
    if (this.#closing !== undefined) {
      return Promise.reject(new RouteMQError('SPOOL_FAILED', `The spool ${this.#dir} is closed`))
    }
    if (records.length === 0) return Promise.resolve([])
    const bytes = records.reduce((sum, data) => sum + FRAME_HEADER_BYTES + data.length, 0)
    if (this.bytes + this.#pendingBytes + bytes > this.#maxBytes) {
      const details = { dir: this.#dir, bytes: this.bytes, maxBytes: this.#maxBytes, wanted: bytes }
      return Promise.reject(
        new RouteMQError('SPOOL_FULL', `The spool ${this.#dir} holds ${this.bytes} of ${this.#maxBytes} bytes`, {
          details,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ records, bytes, resolve, reject })
      this.#pendingBytes += bytes
      this.#writing ??= this.#drain()
    })
  }

  /** Resolves where the disk would take an append: as much as some records take is written beside them and removed. */
  async tryWriting(): Promise<void> {
    const file = join(this.#dir, 'try')
    try {
      const handle = await open(file, 'w', 0o600)
      try {
        await handle.writeFile(Buffer.alloc(TRY_BYTES))
        await handle.datasync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      throw failed(error, this.#dir, 'cannot be written')
    } finally {
      await rm(file, { force: true }).catch(() => {}) // On a read-only disk there is none, or it stays as it is.
    }
  }

  /** The oldest records, at most `limit`; they stay until acknowledged. With `after`, those behind that position. */
  peek(limit: number, after?: number): Promise<readonly SpoolRecord[]> {
    return this.#inTurn(async () => {
      const from = Math.max(after ?? 0, this.#head.position)
      const { records, position, damaged } = await readLog(this.#log.segments, from, this.#log.tail, limit)
      for (const { from: start, to } of damaged) {
        if (to <= this.#damageSeenUpTo) continue
        this.#damageSeenUpTo = to
        this.#countDamage(start, to)
      }
      // Nothing readable is left: give the space of the damaged end back.
      if (records.length === 0 && from === this.#head.position && position === this.#log.tail)
        await this.#advance(position)
      const known = this.#givenOut.at(-1) ?? 0
      for (const record of records) if (record.position > known) this.#givenOut.push(record.position)
      return records
    })
  }

  /**
   * The first record behind a position, whether it was given out or not; undefined where there is none. It is not given
   * out by this: `ack` does not take its position.
   */
  read(after: number): Promise<Buffer | undefined> {
    return this.#inTurn(async () => {
      const from = Math.max(after, this.#head.position)
      const { records } = await readLog(this.#log.segments, from, this.#log.tail, 1)
      return records[0]?.data
    })
  }

  /** Removes every record up to and including the one that `peek` gave this position. */
  ack(position: number): Promise<void> {
    return this.#inTurn(async () => {
      if (position <= this.#head.position) return
      let through = this.#givenOut.findIndex((end) => end > position)
      if (through === -1) through = this.#givenOut.length
      if (this.#givenOut[through - 1] !== position) {
        throw new RouteMQError('INTERNAL', `${position} is no position that this spool gave out`)
      }
      await this.#advance(position)
      this.#givenOut.splice(0, through)
      this.#count = this.bytes === 0 ? 0 : Math.max(0, this.#count - through)
    })
  }

  /** Removes the oldest records until at least `bytes` are free for appending; gives their number. */
  dropOldest(bytes: number): Promise<number> {
    return this.#inTurn(async () => {
      let dropped = 0
      while (this.bytes > 0 && this.#maxBytes - this.bytes - this.#pendingBytes < bytes) {
        const { records, position } = await readLog(this.#log.segments, this.#head.position, this.#log.tail, 256)
        let end = position
        for (const record of records) {
          end = record.position
          dropped += 1
          if (this.#maxBytes - (this.#log.tail - end) - this.#pendingBytes >= bytes) break
        }
        await this.#advance(end)
      }
      const kept = this.#givenOut.findIndex((end) => end > this.#head.position)
      this.#givenOut.splice(0, kept === -1 ? this.#givenOut.length : kept)
      this.#count = this.bytes === 0 ? 0 : Math.max(0, this.#count - dropped)
      this.#damage.droppedRecords += dropped
      return dropped
    })
  }

  /** Waits for what is being written, then gives the folder back. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#writing
    await this.#reading
    await this.#log.close()
    await this.#head.close()
    await this.#unlock()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) {
      return Promise.reject(new RouteMQError('SPOOL_FAILED', `The spool ${this.#dir} is closed`))
    }
    const turn = this.#reading.then(work).catch((error: unknown) => {
      throw failed(error, this.#dir, 'cannot be read')
    })
    this.#reading = turn.catch(() => undefined) // the caller has the error; the next in line goes on
    return turn
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      let bytes = 0
      const taken = this.#pending.findIndex((pending, index) => {
        bytes += pending.bytes
        return index > 0 && bytes > WRITE_BYTES
      })
      const batch = this.#pending.splice(0, taken === -1 ? this.#pending.length : taken)
      let position = this.#log.tail
      const error = await this.#write(batch.flatMap((pending) => pending.records))
      for (const pending of batch) {
        this.#pendingBytes -= pending.bytes
        if (error === undefined) pending.resolve(positionsOf(pending.records, position))
        else pending.reject(error)
        position += pending.bytes
      }
    } // In the same turn as the last look at the queue: an append after this starts a drain of its own.
    this.#writing = undefined
  }

  async #write(records: readonly Buffer[]): Promise<RouteMQError | undefined> {
    try {
      await this.#log.write(records)
      this.#count += records.length
      return undefined
    } catch (error) {
      return failed(error, this.#dir, 'cannot be written')
    }
  }

  async #advance(position: number): Promise<void> {
    await this.#head.write(position)
    await this.#log.removeOld()
  }

  #countDamage(from: number, to: number): void {
    this.#damage.skippedStretches += 1
    this.#damage.skippedBytes += to - from
    this.#count = Math.max(0, this.#count - 1)
    this.#logger?.error({ dir: this.#dir, from, to }, 'A damaged stretch of the spool was skipped')
  }
}

/** Where records stand that were written from a position on. */
function positionsOf(records: readonly Buffer[], from: number): number[] {
  let next = from
  return records.map((data) => {
    const position = next
    next += FRAME_HEADER_BYTES + data.length
    return position
  })
}

function failed(error: unknown, dir: string, what: string): RouteMQError {
  if (error instanceof RouteMQError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new RouteMQError('SPOOL_FAILED', `The spool ${dir} ${what}: ${why}`, { details: { dir }, cause: error })
}
