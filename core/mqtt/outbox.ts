import type { Logger } from '../observability/logger.js'
import type { SpoolQueue } from '../spool/late-spool.js'
import { type Clock, systemClock } from '../support/clock.js'
import { isRetryable, RouteMQError } from '../support/errors.js'
import { decodeEntry, encodeEntry } from './outbox-entry.js'
import {
  ConnectionLost,
  MAX_LOSSES,
  type Publication,
  type Replay,
  type Returned,
  refusedByClosing,
} from './publish-window.js'
import type { PublishStore } from './publishing-link.js'

export interface OutboxOptions {
  /** The disk queue; the outbox is its only user, and whoever opened it closes it after `stop()`. */
  readonly spool: SpoolQueue
  readonly logger: Logger
  readonly clock?: Clock
  /** Topics of which only the newest value is kept while the broker is away; beyond that the oldest topic goes. @default 100000 */
  readonly maxNewest?: number
}

export interface OutboxStats {
  /** Entries on disk and in memory that wait for the broker. */
  readonly waiting: number
  readonly bytes: number
  readonly replayed: number
  /** Answers nobody waits for any more. */
  readonly expired: number
  /** Values replaced by a newer one of the same topic. */
  readonly superseded: number
  /** Entries the broker refused for good, or closed connections on. */
  readonly refused: number
}

type Send = (publication: Publication, replay: Replay) => Promise<void>

/** A value that the next one of its topic replaces. */
interface Newest {
  readonly publication: Publication
  readonly expiresAt: number | undefined
  /** Connections that ended while this topic alone was on its way. */
  losses: number
}

/** Entries read from disk and sent at a time. */
const BATCH = 64
/** After a failure that left the connection up: a broker over its quota, a disk that cannot be read. */
const RETRY_MS = 1_000

/**
 * What the application publishes while the broker is away: on disk, in order, bounded. Replayed when the broker is back;
 * an entry is removed when the broker has it, so a crash in between sends it twice and never loses it.
 *
 * A broker may answer what it will not take by closing the connection. An entry that ends MAX_LOSSES of them while nothing
 * else is on its way is left out, counted and logged: it would end every connection to come.
 *
 * Entries with `newestOnly` are values that the next one replaces. They are kept in memory, the newest of each topic, and go
 * out after what is on disk; they are not worth a disk write each and do not outlive the process.
 */
export class Outbox implements PublishStore {
  readonly #spool: SpoolQueue
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #maxNewest: number
  readonly #newest = new Map<string, Newest>()
  #send: Send | undefined
  #replaying: Promise<void> | undefined
  #again = false
  #cancelRetry = () => {}
  /** So many from the front were on their way together when a connection ended: they go one at a time, to find the one. */
  #suspects = 0
  /** Connections that ended while the first entry alone was on its way. */
  #headLosses = 0
  #stopped = false
  #replayed = 0
  #expired = 0
  #superseded = 0
  #refused = 0

  constructor(options: OutboxOptions) {
    this.#spool = options.spool
    this.#logger = options.logger
    this.#clock = options.clock ?? systemClock
    this.#maxNewest = options.maxNewest ?? 100_000
  }

  get size(): number {
    return this.#spool.count + this.#newest.size
  }

  stats(): OutboxStats {
    return {
      waiting: this.size,
      bytes: this.#spool.bytes,
      replayed: this.#replayed,
      expired: this.#expired,
      superseded: this.#superseded,
      refused: this.#refused,
    }
  }

  /**
   * Resolves when the entry is durable (in memory, for `newestOnly`).
   *
   * @throws PUBLISH_OVERLOADED at the bound, SPOOL_FAILED when the disk refuses.
   */
  async put(publication: Publication, returned?: Returned): Promise<void> {
    if (this.#stopped) throw new RouteMQError('SHUTTING_DOWN', 'the outbox is stopped')
    const { expiresInMs, newestOnly } = publication.options
    const acceptedAt = returned?.acceptedAt ?? this.#clock.now()
    const expiresAt = expiresInMs === undefined ? undefined : acceptedAt + expiresInMs
    if (newestOnly !== true) {
      const older = returned === undefined ? this.#newest.get(publication.topic) : undefined
      await this.#append(publication, expiresAt)
      // Sent after what is on disk, it would come after this one, and stay retained for ever.
      if (older !== undefined && this.#newest.get(publication.topic) === older) {
        this.#newest.delete(publication.topic)
        this.#superseded += 1
      }
    } else if (returned !== undefined && this.#newest.has(publication.topic)) this.#superseded += 1
    else this.#keepNewest(publication, expiresAt)
    this.#kick()
  }

  online(send: Send): void {
    this.#send = send
    this.#kick()
  }

  offline(): void {
    this.#send = undefined
  }

  /** What is on disk can be read from now on. */
  wake(): void {
    if (this.size > 0) this.#kick()
  }

  /** Stops replaying; what waits stays on disk. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.offline()
    this.#cancelRetry()
    await this.#replaying
  }

  async #append(publication: Publication, expiresAt: number | undefined): Promise<void> {
    try {
      await this.#spool.append([encodeEntry(publication, expiresAt)])
    } catch (error) {
      if (!(error instanceof RouteMQError) || error.code !== 'SPOOL_FULL') throw error
      throw new RouteMQError(
        'PUBLISH_OVERLOADED',
        `the outbox is full: ${this.#spool.bytes} of ${this.#spool.maxBytes} bytes wait for the broker`,
        { details: { bytes: this.#spool.bytes, maxBytes: this.#spool.maxBytes }, cause: error },
      )
    }
  }

  #keepNewest(publication: Publication, expiresAt: number | undefined): void {
    const { topic } = publication
    // Set again, so that the order of the topics is that of their newest values.
    const losses = this.#newest.get(topic)?.losses ?? 0
    if (this.#newest.delete(topic)) this.#superseded += 1
    this.#newest.set(topic, { publication, expiresAt, losses })
    if (this.#newest.size <= this.#maxNewest) return
    const oldest = this.#newest.keys().next().value!
    this.#newest.delete(oldest)
    this.#superseded += 1
  }

  #kick(): void {
    this.#again = true
    if (this.#send === undefined) return
    this.#cancelRetry()
    this.#replaying ??= this.#replay().finally(() => {
      this.#replaying = undefined
      if (this.#send === undefined || this.size === 0) return
      if (this.#again) this.#kick()
      else this.#cancelRetry = this.#clock.after(RETRY_MS, () => this.#kick(), { unref: true })
    })
  }

  async #replay(): Promise<void> {
    try {
      while (this.#send !== undefined && this.size > 0) {
        this.#again = false
        if (this.#spool.count > 0 && !(await this.#replayBatch(this.#send))) return
        if (this.#spool.count === 0 && !(await this.#replayNewest())) return
      }
    } catch (error) {
      this.#logger.error({ error }, 'the outbox cannot be read; it is tried again')
    }
  }

  /** False when the broker went away, or nothing could be done. */
  async #replayBatch(send: Send): Promise<boolean> {
    const suspect = this.#suspects > 0
    const records = await this.#spool.peek(suspect ? 1 : BATCH)
    if (records.length === 0) return true
    const outcomes = await Promise.allSettled(records.map(({ data }) => this.#sendEntry(data, send, { suspect })))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    const done = failed === undefined ? records.length : outcomes.indexOf(failed)
    // An entry behind one that failed may have reached the broker: it goes again, in order. At least once.
    if (done > 0) await this.#remove(records[done - 1]!.position, done)
    if (failed === undefined) return true
    if (!(failed.reason instanceof ConnectionLost)) return false
    if (failed.reason.inFlight > 1) this.#suspects = Math.max(this.#suspects, records.length - done)
    else if (failed.reason.inFlight === 1) {
      this.#suspects = Math.max(this.#suspects, 1)
      this.#headLosses += 1
      if (this.#headLosses >= MAX_LOSSES) {
        const { position, data } = records[done]!
        this.#leaveOut(decodeEntry(data)!.publication)
        await this.#remove(position, 1)
      }
    }
    return false
  }

  /** Takes away what is done with: `count` entries from the front. */
  async #remove(position: number, count: number): Promise<void> {
    this.#headLosses = 0
    this.#suspects = Math.max(0, this.#suspects - count)
    await this.#spool.ack(position)
  }

  /** Resolves when the entry is done with: taken by the broker, expired, or refused for good. */
  async #sendEntry(data: Buffer, send: Send, replay: Replay): Promise<void> {
    const entry = decodeEntry(data)
    if (entry === undefined) {
      this.#refused += 1
      this.#logger.error({ bytes: data.length }, 'an outbox entry cannot be read and is left out')
      return
    }
    if (entry.expiresAt !== undefined && entry.expiresAt <= this.#clock.now()) {
      this.#expired += 1
      return
    }
    await this.#deliver(entry.publication, send, replay)
  }

  async #replayNewest(): Promise<boolean> {
    for (const [topic, entry] of this.#newest) {
      if (this.#send === undefined) return false
      if (entry.expiresAt !== undefined && entry.expiresAt <= this.#clock.now()) this.#expired += 1
      else {
        try {
          await this.#deliver(entry.publication, this.#send, { suspect: entry.losses > 0 })
        } catch (error) {
          this.#newestFailed(topic, error)
          return false // the link is down again; it says so, and the value stays
        }
      }
      // A newer value may have come while this one was on its way.
      if (this.#newest.get(topic) === entry) this.#newest.delete(topic)
    }
    return true
  }

  #newestFailed(topic: string, error: unknown): void {
    const entry = this.#newest.get(topic)
    if (entry === undefined || !(error instanceof ConnectionLost) || error.inFlight !== 1) return
    entry.losses += 1
    if (entry.losses < MAX_LOSSES) return
    this.#leaveOut(entry.publication)
    this.#newest.delete(topic)
  }

  #leaveOut(publication: Publication): void {
    const error = refusedByClosing({ publication })
    this.#refused += 1
    this.#logger.error({ error, code: error.code, topic: publication.topic }, 'an entry of the outbox is left out')
  }

  async #deliver(publication: Publication, send: Send, replay: Replay): Promise<void> {
    try {
      await send(publication, replay)
      this.#replayed += 1
    } catch (error) {
      if (isRetryable(error)) throw error
      this.#refused += 1
      this.#logger.warn({ error, topic: publication.topic }, 'the broker refused an entry of the outbox for good')
    }
  }
}
