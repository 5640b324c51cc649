import { type Clock, systemClock } from '../support/clock.js'
import type { RouteMQError } from '../support/errors.js'
import { listSegments } from './segments.js'
import { Spool, type SpoolOptions } from './spool.js'

/** What the users of a spool do with it, whether or not its folder can be opened yet. */
export type SpoolQueue = Pick<
  Spool,
  'append' | 'tryWriting' | 'peek' | 'read' | 'ack' | 'dropOldest' | 'bytes' | 'count' | 'maxBytes'
>

export interface LateSpoolOptions extends SpoolOptions {
  readonly clock?: Clock
  /** Milliseconds between two attempts to open it. @default 1,000 */
  readonly retryMs?: number
}

/** The disk refuses, and may not for ever: full, read-only, rights that a person can mend. */
const PASSING = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO'])

/**
 * A spool that opens when the disk lets it. Until then it takes nothing, and what an earlier life left in it cannot be
 * read: every use but the counts rejects with SPOOL_FAILED.
 */
export class LateSpool implements SpoolQueue {
  /** Resolves when it is open; never, where it is closed before. */
  readonly opened: Promise<void>
  readonly #options: LateSpoolOptions
  readonly #clock: Clock
  #spool: Spool | undefined
  #why: RouteMQError | undefined
  #tellOpened = () => {}
  #trying: Promise<void> | undefined
  #cancelRetry = () => {}
  #closed = false

  private constructor(options: LateSpoolOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.opened = new Promise((resolve) => {
      this.#tellOpened = resolve
    })
  }

  /** @throws SPOOL_LOCKED, and SPOOL_FAILED where waiting does not mend it, as where a file stands in place of the folder. */
  static async open(options: LateSpoolOptions): Promise<LateSpool> {
    const late = new LateSpool(options)
    await late.#try()
    if (late.#why !== undefined && !isPassing(late.#why)) {
      await late.close()
      throw late.#why
    }
    return late
  }

  /** Why it is not open, while it is not. */
  get whyNotOpen(): string | undefined {
    return this.#why?.message
  }

  /** 0 while it is not open: nobody knows. */
  get bytes(): number {
    return this.#spool?.bytes ?? 0
  }

  get count(): number {
    return this.#spool?.count ?? 0
  }

  get maxBytes(): number {
    return this.#options.maxBytes
  }

  async append(records: readonly Buffer[]): Promise<readonly number[]> {
    return this.#open().append(records)
  }

  async tryWriting(): Promise<void> {
    return this.#open().tryWriting()
  }

  /** Gives nothing where there is nothing on the disk, open or not. */
  async peek(limit: number, after?: number): ReturnType<Spool['peek']> {
    if (this.#spool === undefined && (await this.#holdsNothing())) return []
    return this.#open().peek(limit, after)
  }

  async read(after: number): Promise<Buffer | undefined> {
    return this.#open().read(after)
  }

  async ack(position: number): Promise<void> {
    return this.#open().ack(position)
  }

  async dropOldest(bytes: number): Promise<number> {
    return this.#open().dropOldest(bytes)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelRetry()
    await this.#trying
    await this.#spool?.close()
  }

  #open(): Spool {
    if (this.#spool === undefined) throw this.#why
    return this.#spool
  }

  #try(): Promise<void> {
    this.#trying ??= Spool.open(this.#options)
      .then(
        (spool) => {
          this.#spool = spool
          this.#why = undefined
          this.#tellOpened()
        },
        (error: RouteMQError) => {
          this.#why = error
          const again = () => void this.#try()
          if (!this.#closed)
            this.#cancelRetry = this.#clock.after(this.#options.retryMs ?? 1_000, again, { unref: true })
        },
      )
      .finally(() => {
        this.#trying = undefined
      })
    return this.#trying
  }

  async #holdsNothing(): Promise<boolean> {
    try {
      return (await listSegments(this.#options.dir)).length === 0
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT'
    }
  }
}

function isPassing({ code, cause }: RouteMQError): boolean {
  return code === 'SPOOL_FAILED' && PASSING.has(String((cause as NodeJS.ErrnoException | undefined)?.code))
}
