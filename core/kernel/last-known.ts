import { readFile } from 'node:fs/promises'
import type { ReadCache } from '../modbus/cache.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { writeDurably } from '../support/durable-file.js'

export interface LastKnownOptions {
  readonly file: string
  readonly cache: Pick<ReadCache, 'snapshot' | 'restore' | 'revision'>
  /** Bus and unit of a device now. */
  readonly spaceOf: (deviceId: string) => string | undefined
  readonly logger: Logger
  readonly clock: Clock
  /** Milliseconds between two looks at whether something is to be written. @default 30,000 */
  readonly everyMs?: number
}

type Known = ReturnType<ReadCache['snapshot']>[number]

/**
 * Carries the last known values over a restart, for callers that allow stale ones: to a file now and then and at the end,
 * and back at the start. Without the file, or where it cannot be written, everything else goes on.
 */
export class LastKnown {
  readonly #options: LastKnownOptions
  #written = 0
  #cancel: (() => void) | undefined
  #saving: Promise<void> | undefined
  #stopped = false
  #isFailing = false

  constructor(options: LastKnownOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { cache, spaceOf } = this.#options
    // A device that was moved to another unit meanwhile is another device: nothing is known of it.
    cache.restore((await this.#read()).filter(({ device_id, space }) => spaceOf(device_id) === space))
    this.#written = cache.revision
    this.#schedule()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancel?.()
    await this.#saving
    await this.#save()
  }

  #schedule(): void {
    const { clock, everyMs = 30_000 } = this.#options
    if (this.#stopped) return
    const turn = () => {
      this.#saving = this.#save().finally(() => this.#schedule())
    }
    this.#cancel = clock.after(everyMs, turn, { unref: true })
  }

  async #read(): Promise<Known[]> {
    const { file, logger } = this.#options
    try {
      const known: unknown = JSON.parse(await readFile(file, 'utf8'))
      return Array.isArray(known) ? known.filter(isKnown) : []
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        logger.warn({ error, file }, 'the last known values of before the start cannot be read')
      }
      return []
    }
  }

  async #save(): Promise<void> {
    const { cache, file, logger } = this.#options
    const { revision } = cache
    if (revision === this.#written) return
    try {
      await writeDurably(file, JSON.stringify(cache.snapshot()))
      this.#written = revision
      this.#isFailing = false
    } catch (error) {
      const reason = (error as Error).message
      if (!this.#isFailing) logger.warn({ reason, file }, 'the last known values could not be written')
      this.#isFailing = true
    }
  }
}

function isKnown(value: unknown): value is Known {
  const { device_id, register_type, address, count, values, timestamp, space } = (value ?? {}) as Partial<Known>
  return (
    [device_id, register_type, space].every((text) => typeof text === 'string') &&
    [address, count, timestamp].every(Number.isFinite) &&
    Array.isArray(values)
  )
}
