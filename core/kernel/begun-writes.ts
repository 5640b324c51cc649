import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { Logger } from '../observability/logger.js'
import type { SpoolQueue } from '../spool/late-spool.js'
import { type Clock, systemClock } from '../support/clock.js'

export interface BegunWritesOptions {
  readonly spool: SpoolQueue
  readonly logger: Logger
  readonly clock?: Clock
  /** Milliseconds between the end of a write and the removal of its record. @default 1,000 */
  readonly sweepMs?: number
}

const PAGE = 256
const RECOVER_AGAIN_MS = 5_000

/**
 * Writes that may be on the wire. Each is noted durably before it goes out, with the entry of the audit that says `unknown`:
 * a gateway that is killed meanwhile leaves it behind, and the next life audits it. The audit knows an entry by its id, so
 * that what is told of a write which had ended after all changes nothing.
 */
export class BegunWrites {
  readonly #options: BegunWritesOptions
  readonly #clock: Clock
  readonly #open = new Set<string>()
  #cancelSweep: (() => void) | undefined
  #sweeping: Promise<void> = Promise.resolve()
  #isTold = false
  /** What earlier lives left is in the audit. */
  #isRecovered = false
  #stopped = false

  constructor(options: BegunWritesOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /**
   * Audits what earlier lives left behind; goes on trying.
   *
   * @param put resolves when the entry is durable
   */
  async recover(put: (entry: AuditInput) => Promise<void>): Promise<void> {
    if (this.#stopped) return
    try {
      await this.#recover(put)
      this.#isRecovered = true
    } catch (error) {
      this.#options.logger.error({ error }, 'writes that were under way could not be audited yet')
      this.#clock.after(RECOVER_AGAIN_MS, () => void this.recover(put), { unref: true })
    }
  }

  async #recover(put: (entry: AuditInput) => Promise<void>): Promise<void> {
    const { spool } = this.#options
    for (;;) {
      const page = await spool.peek(PAGE)
      for (const { data, position } of page) {
        const entries = this.#parse(data)
        // From here on they are of this life.
        if (this.#isUnderWay(entries)) return
        for (const entry of entries) await put(entry)
        await spool.ack(position)
      }
      if (page.length === 0) return
    }
  }

  #isUnderWay([first]: readonly AuditInput[]): boolean {
    return this.#open.has(first?.id ?? '')
  }

  /** Resolves when the write is noted; the function it gives is to be called when its entries are durable in the audit. */
  async begin(entries: readonly AuditInput[]): Promise<() => void> {
    const id = entries[0]?.id ?? ''
    this.#open.add(id)
    try {
      await this.#options.spool.append([Buffer.from(JSON.stringify(entries))])
      this.#isTold = false
    } catch (error) {
      // The audit may have a place in the database, and it decides whether there are writes.
      if (!this.#isTold) this.#options.logger.warn({ error }, 'the disk does not take what is about to be written')
      this.#isTold = true
    }
    return () => {
      this.#open.delete(id)
      this.#sweepSoon()
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelSweep?.()
    await this.#sweep()
  }

  #sweepSoon(): void {
    this.#cancelSweep ??= this.#clock.after(
      this.#options.sweepMs ?? 1_000,
      () => {
        this.#cancelSweep = undefined
        void this.#sweep()
      },
      { unref: true },
    )
  }

  #sweep(): Promise<void> {
    this.#sweeping = this.#sweeping
      .then(() => this.#removeEnded())
      .catch((error: unknown) => this.#options.logger.debug({ error }, 'ended writes stay noted'))
    return this.#sweeping
  }

  /** Up to the first that is under way. */
  async #removeEnded(): Promise<void> {
    const { spool } = this.#options
    while (this.#isRecovered) {
      const page = await spool.peek(PAGE)
      const first = page.findIndex(({ data }) => this.#isUnderWay(this.#parse(data)))
      const last = page[(first === -1 ? page.length : first) - 1]
      if (last === undefined) return
      await spool.ack(last.position)
      if (first !== -1) return
    }
  }

  #parse(data: Buffer): readonly AuditInput[] {
    try {
      return JSON.parse(data.toString()) as AuditInput[]
    } catch (error) {
      this.#options.logger.error({ error, record: data.toString() }, 'a record of begun writes is none')
      return []
    }
  }
}
