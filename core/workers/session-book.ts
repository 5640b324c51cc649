import { readFileSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { type Logger, silentLogger } from '../observability/logger.js'
import type { PlannedSubscription } from '../router/route.js'
import { replaceFile } from '../support/durable-file.js'

/** A session that the broker keeps for one lane: what it is subscribed to, and therefore what may wait in it. */
export interface HeldSession {
  readonly clientId: string
  readonly lane: string
  readonly subscriptions: readonly PlannedSubscription[]
  /** Wall clock milliseconds: nothing it holds reached the broker earlier; absent where nobody knows. */
  readonly heldSince?: number
}

/** What an open lane knows about its session at this moment. */
export interface SessionAge {
  readonly clientId: string
  readonly heldSince: number | undefined
}

/** How old the ages in the file may be: a gateway that is killed makes its sessions that much older than they are. */
const WRITE_AGES_MS = 5_000
const UNWRITTEN = 'the sessions held at the broker could not be written'

/**
 * Which sessions this installation has at the broker, kept in a file. Routes, slots and client ids change from one start to
 * the next; a session that nobody opens any more would keep its messages for ever, and a filter that nobody asks for any
 * more would go on bringing some.
 */
export class SessionBook {
  readonly #file: string
  readonly #sessions: Map<string, HeldSession>
  readonly #logger: Logger
  #writtenAt = 0
  /** Counts what was written at once. */
  #writes = 0
  #agesUnderWay = false
  #isFailing = false

  private constructor(file: string, sessions: readonly HeldSession[], logger: Logger) {
    this.#file = file
    this.#logger = logger
    this.#sessions = new Map(sessions.map((session) => [session.clientId, session]))
  }

  /** A file that is not there or cannot be read is an empty book: the sessions end by their expiry then. */
  static open(file: string, logger: Logger = silentLogger): SessionBook {
    try {
      const kept: unknown = JSON.parse(readFileSync(file, 'utf8'))
      return new SessionBook(file, Array.isArray(kept) ? kept.filter(isHeldSession) : [], logger)
    } catch {
      return new SessionBook(file, [], logger)
    }
  }

  all(): readonly HeldSession[] {
    return [...this.#sessions.values()]
  }

  /** A lane has subscribed: this is what its session holds from here on. */
  hold(sessions: readonly HeldSession[]): void {
    for (const session of sessions) {
      const heldSince = this.#sessions.get(session.clientId)?.heldSince
      this.#sessions.set(session.clientId, { ...session, ...(heldSince === undefined ? {} : { heldSince }) })
    }
    this.#write()
  }

  /**
   * Notes how old what the sessions hold can be. Where nobody knows just now, what was known before still holds. Resolves when
   * the file knows it too, where it is time for that.
   */
  async aged(ages: readonly SessionAge[]): Promise<void> {
    for (const { clientId, heldSince } of ages) {
      const session = this.#sessions.get(clientId)
      if (session !== undefined && heldSince !== undefined) this.#sessions.set(clientId, { ...session, heldSince })
    }
    if (this.#sessions.size > 0 && Date.now() - this.#writtenAt >= WRITE_AGES_MS) await this.#writeAges()
  }

  /** Writes what is known, before the process ends. */
  flush(): void {
    if (this.#sessions.size > 0) this.#write()
  }

  /** The session is drained and ended. */
  ended(clientIds: readonly string[]): void {
    for (const clientId of clientIds) this.#sessions.delete(clientId)
    this.#write()
  }

  /**
   * Beside everything else: to put a file in the place of another takes a file system tens of milliseconds, in which a
   * gateway would begin no poll.
   */
  async #writeAges(): Promise<void> {
    if (this.#agesUnderWay) return
    this.#agesUnderWay = true
    this.#writtenAt = Date.now()
    const writes = this.#writes
    const fresh = `${this.#file}.${process.pid}.ages`
    try {
      await writeFile(fresh, JSON.stringify(this.all()))
      if (writes === this.#writes) await rename(fresh, this.#file)
      // What was written meanwhile knows more, and must be what stays.
      if (writes !== this.#writes) this.#write()
      else this.#written()
    } catch (error) {
      this.#unwritten(error)
    } finally {
      await rm(fresh, { force: true }).catch(() => {}) // What cannot be removed is written over the next time.
      this.#agesUnderWay = false
    }
  }

  /** A full or read-only disk ends nothing: the book goes on in memory and is written again with the next ages. */
  #write(): void {
    this.#writtenAt = Date.now()
    this.#writes += 1
    try {
      replaceFile(this.#file, JSON.stringify(this.all()))
      this.#written()
    } catch (error) {
      this.#unwritten(error)
    }
  }

  #written(): void {
    if (this.#isFailing) this.#logger.info({ file: this.#file }, 'the sessions held at the broker are written again')
    this.#isFailing = false
  }

  /** Told once, however often it is tried. */
  #unwritten(error: unknown): void {
    const reason = (error as Error).message
    if (!this.#isFailing) this.#logger.warn({ reason, file: this.#file }, UNWRITTEN)
    this.#isFailing = true
  }
}

function isHeldSession(kept: unknown): kept is HeldSession {
  if (typeof kept !== 'object' || kept === null) return false
  const { clientId, lane, subscriptions } = kept as Record<string, unknown>
  return typeof clientId === 'string' && typeof lane === 'string' && Array.isArray(subscriptions)
}

/** What a session still holds that the lane does not ask for any more; its messages run, and the filter is given up. */
export function retiredFrom(
  held: HeldSession | undefined,
  wanted: readonly PlannedSubscription[],
): readonly PlannedSubscription[] {
  const filters = new Set(wanted.map(({ filter }) => filter))
  return (held?.subscriptions ?? []).filter(({ filter }) => !filters.has(filter))
}
