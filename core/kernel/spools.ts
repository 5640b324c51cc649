import { join } from 'node:path'
import { keepInstanceId } from '../config/instance.js'
import type { Logger } from '../observability/logger.js'
import { LateSpool } from '../spool/late-spool.js'
import type { Clock } from '../support/clock.js'

export interface SpoolsOptions {
  readonly dataDir: string
  readonly logger: Logger
  readonly clock: Clock
}

/**
 * The spools of the data folder. On a full or read-only disk the product runs without them and says so: devices are polled
 * and read, and what needs a durable place is refused until the disk takes it.
 */
export class Spools {
  readonly #options: SpoolsOptions
  readonly #spools: LateSpool[] = []
  #isWaiting = false

  constructor(options: SpoolsOptions) {
    this.#options = options
  }

  /** @throws SPOOL_LOCKED, SPOOL_FAILED where waiting does not mend it. */
  async open(name: string, maxBytes: number): Promise<LateSpool> {
    const { dataDir, logger, clock } = this.#options
    const spool = await LateSpool.open({ dir: join(dataDir, 'spool', name), maxBytes, logger, clock })
    this.#spools.push(spool)
    if (spool.whyNotOpen !== undefined && !this.#isWaiting) {
      this.#isWaiting = true
      logger.warn({ reason: spool.whyNotOpen }, 'the disk does not take what must be kept; what needs it is refused')
    }
    void spool.opened.then(() => {
      if (!this.#isWaiting || this.reason !== undefined) return
      this.#isWaiting = false
      logger.info({}, 'the disk takes what must be kept again')
      this.#keepInstanceId()
    })
    return spool
  }

  #keepInstanceId(): void {
    const { dataDir, logger } = this.#options
    try {
      keepInstanceId(dataDir)
    } catch (error) {
      logger.warn({ reason: (error as Error).message }, 'the instance id could not be kept')
    }
  }

  /** Why something cannot be kept on the disk, from the start on until it can. */
  get reason(): string | undefined {
    return this.#spools.find(({ whyNotOpen }) => whyNotOpen !== undefined)?.whyNotOpen
  }

  async close(): Promise<void> {
    await Promise.all(this.#spools.map((spool) => spool.close()))
  }
}
