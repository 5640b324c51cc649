import { createHash } from 'node:crypto'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import type { ClaimPort } from './gateway-ports.js'

const PAGE = 1_000
const AGAIN_MS = 1_000
/** About 40 bytes each. Of more than these nobody can tell, while the table is away, what is among them. */
const MOST = 200_000
/** Old claims leave the table: after this long there may be fewer than that. */
const RECOUNT_MS = 600_000

export interface KnownClaimsOptions {
  readonly table: Pick<ClaimPort, 'keys'>
  readonly logger: Logger
  readonly clock: Clock
  /** Whether some claims are on their way to the table. */
  readonly waiting: () => boolean
  readonly most?: number | undefined
}

/**
 * Which keys the table has that the book does not. While the table is away, whoever asks for one of them may be a copy of
 * a command that has run: it must not be taken for a first.
 */
export class KnownClaims {
  readonly #options: KnownClaimsOptions
  readonly #most: number
  /** 48 bits of a hash: two keys that share them cost a refusal at worst. */
  readonly #prints = new Set<number>()
  #complete = false
  #overflowed = false
  #loading = false
  #stopped = false
  #cancel = () => {}

  constructor(options: KnownClaimsOptions) {
    this.#options = options
    this.#most = options.most ?? MOST
  }

  /** All of the table has been read in this life. */
  get complete(): boolean {
    return this.#complete
  }

  /** Reads the table as soon as it is there. */
  start(): void {
    if (this.#loading || this.#stopped) return
    this.#loading = true
    void this.#load().then((againInMs) => {
      this.#loading = false
      if (againInMs === undefined || this.#stopped) return
      this.#cancel = this.#options.clock.after(againInMs, () => this.start(), { unref: true })
    })
  }

  stop(): void {
    this.#stopped = true
    this.#cancel()
  }

  /** Whether a key that the book does not know is certainly none of the table's either. */
  isNew(key: string): boolean {
    return this.#complete && !this.#prints.has(printOf(key))
  }

  /** The book has forgotten it; the table has not. */
  add(key: string): void {
    if (this.#prints.size < this.#most) {
      this.#prints.add(printOf(key))
      return
    }
    // Some of them may have left the table long ago.
    this.#complete = false
    this.#overflowed = true
    this.start()
  }

  /** It was given back: the table does not have it any more. */
  delete(key: string): void {
    this.#prints.delete(printOf(key))
  }

  /** Milliseconds after which it has to be tried again. */
  async #load(): Promise<number | undefined> {
    const { table, logger, waiting } = this.#options
    if (this.#overflowed) {
      if (waiting()) return AGAIN_MS
      this.#overflowed = false
      this.#prints.clear()
    }
    const found = new Set<number>()
    try {
      for (let after: string | undefined; ; ) {
        const page = await table.keys(PAGE, after)
        for (const key of page) found.add(printOf(key))
        after = page.at(-1)
        if (page.length < PAGE || after === undefined) break
        if (found.size >= this.#most) {
          const text =
            'more idempotency keys are kept than can be known by heart: new ones wait while the database is away'
          logger.warn({ keys: found.size }, text)
          return RECOUNT_MS
        }
      }
    } catch (error) {
      logger.debug({ err: error }, 'the claims of earlier lives cannot be read yet')
      return AGAIN_MS
    }
    // What the book forgot meanwhile stays.
    for (const print of found) this.#prints.add(print)
    if (this.#overflowed) return AGAIN_MS
    this.#complete = true
    return undefined
  }
}

function printOf(key: string): number {
  return createHash('sha256').update(key).digest().readUIntBE(0, 6)
}
