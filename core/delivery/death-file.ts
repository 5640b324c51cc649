import { readFileSync } from 'node:fs'
import type { Logger } from '../observability/logger.js'
import { replaceFile } from '../support/durable-file.js'

/** A message under suspicion, as the next gateway finds it. Times of the wall clock, milliseconds. */
export interface KeptSuspicion {
  readonly id: string
  readonly deaths: number
  readonly diedAt: number
  readonly buriedAt?: number
}

/**
 * The suspicions of a {@link DeathBook} on disk: a message that ends its process would else begin anew with every gateway.
 * A file of its own, for they must be known while the database is away, and there without one.
 */
export class DeathFile {
  readonly #file: string
  readonly #logger: Logger

  constructor(file: string, logger: Logger) {
    this.#file = file
    this.#logger = logger
  }

  /** What is not there or cannot be read says nothing against anybody. */
  read(): readonly KeptSuspicion[] {
    try {
      const kept: unknown = JSON.parse(readFileSync(this.#file, 'utf8'))
      return Array.isArray(kept) ? kept.filter(isKept) : []
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#logger.warn({ file: this.#file, err: error }, 'what is known of messages that end workers cannot be read')
      }
      return []
    }
  }

  /** A full or read-only disk ends nothing: the suspicions stand in memory then, and are written with the next one. */
  write(suspicions: readonly KeptSuspicion[], { sync }: { readonly sync: boolean }): void {
    try {
      replaceFile(this.#file, JSON.stringify(suspicions), { sync })
    } catch (error) {
      this.#logger.warn({ file: this.#file, err: error }, 'a message that ends workers could not be noted on disk')
    }
  }
}

function isKept(kept: unknown): kept is KeptSuspicion {
  if (typeof kept !== 'object' || kept === null) return false
  const { id, deaths, diedAt, buriedAt } = kept as Record<string, unknown>
  const times = [diedAt, buriedAt ?? 0].every((time) => typeof time === 'number' && Number.isFinite(time))
  return typeof id === 'string' && Number.isSafeInteger(deaths) && (deaths as number) > 0 && times
}
