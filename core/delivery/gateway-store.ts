import { randomUUID } from 'node:crypto'
import { isFaultOfRow } from '../database/connection-errors.js'
import type { FieldPort } from '../modbus/field.js'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { ClaimBook } from './claim-book.js'
import type { Claim, ClaimOutcome, DeadLetter, DeliveryStore, ParkedHead, ParkedMessage } from './delivery-store.js'
import type { DeliveryTables, SpoolPort, StoreOwner } from './gateway-ports.js'
import { KnownClaims } from './known-claims.js'
import { Lives } from './lives.js'
import type { SpoolRecord } from './spool-records.js'
import { TableQueue } from './table-queue.js'
import { workerGone } from './worker-gone.js'
import { WriteJournal } from './write-journal.js'

const COPY_WAIT_MS = 1_000
/** Parked messages that are read at a time. */
const PARKED_PAGE = 10_000
const GATEWAY = 'gateway'

export interface GatewayStoreOptions {
  /** The tables; they reject while the database is away. */
  readonly tables: DeliveryTables
  /** Takes what the database does not. Without one, what cannot be kept is refused. */
  readonly spool?: SpoolPort
  readonly owner: StoreOwner
  readonly logger: Logger
  readonly clock?: Clock
  /** How long `claim` waits for the first copy to end before it says `running`, milliseconds. @default 1,000 */
  readonly copyWaitMs?: number
  /** How often the spool is tried while it holds something, milliseconds. @default 1,000 */
  readonly replayMs?: number
  /** Ended commands whose outcome is in memory. @default 10,000 */
  readonly remembered?: number
  /** Parked messages that are read at a time. @default 10,000 */
  readonly parkedPage?: number
}

export interface GatewayStoreStats {
  /** Operations that wait in the spool for the database. */
  readonly spooled: number
  readonly claims: number
  readonly parked: number
}

/**
 * Keeps what deliveries need kept: in the database, or in the spool while that is away. Operations that went to the
 * spool are done in the database later, in their order; until then whatever concerns the same message or claim follows
 * them there.
 */
export class GatewayStore implements DeliveryStore {
  readonly durable = true
  readonly #options: GatewayStoreOptions
  readonly #clock: Clock
  readonly #book: ClaimBook
  readonly #journal = new WriteJournal()
  readonly #queue: TableQueue
  /** Which worker finishes which parked message. */
  readonly #keepers = new Map<string, string>()
  readonly #abandoned = new Set<string>()
  /** The routes that each worker had when it last asked for parked messages. */
  readonly #had = new Map<string, ReadonlySet<string>>()
  readonly #lives = new Lives()
  readonly #known: KnownClaims
  #starting: Promise<void> | undefined

  constructor(options: GatewayStoreOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#queue = new TableQueue({ ...options, clock: this.#clock })
    this.#known = new KnownClaims({
      table: options.tables.claims,
      logger: options.logger,
      clock: this.#clock,
      waiting: () => this.#queue.size > 0,
    })
    this.#book = new ClaimBook(this.#clock, options.remembered, (key) => this.#known.add(key))
  }

  /**
   * Reads what an earlier life left in the spool. Call it before anything else. Rejects while the spool cannot be read:
   * until it can, nothing is kept or claimed, because nobody can tell which commands have run.
   */
  start(): Promise<void> {
    this.#starting ??= this.#queue
      .load((record) => {
        if (record.op === 'claim') this.#book.interrupted(record.key, record.payloadHash)
        if (record.op === 'complete') this.#book.done(record.key, record.outcome, record.payloadHash)
        if (record.op === 'release') this.#book.forget(record.key)
      })
      .then(() => this.#known.start())
      .catch((error: unknown) => {
        this.#starting = undefined
        throw error
      })
    return this.#starting
  }

  /** Whether commands can be claimed while the database is away: the keys of earlier lives are known. */
  get knowsClaims(): boolean {
    return this.#known.complete
  }

  /** Stops replaying; what is in the spool stays there for the next life. */
  stop(): Promise<void> {
    this.#known.stop()
    return this.#queue.stop()
  }

  stats(): GatewayStoreStats {
    return { spooled: this.#queue.size, claims: this.#book.size, parked: this.#keepers.size }
  }

  /** The store as the process uses it that is this worker now: its claims and parked messages are handed on when it is lost. */
  forWorker(worker: string): DeliveryStore {
    const lives = this.#lives.of(worker)
    return {
      durable: this.durable,
      deadLetter: (letter, id) => this.deadLetter(letter, id),
      park: (message) => this.#park(message, worker, lives),
      unpark: (id) => this.unpark(id),
      fetchParked: (id) => this.fetchParked(id),
      claim: (key, payloadHash) => this.#claim(key, payloadHash, worker, lives),
      complete: (key, outcome) => this.complete(key, outcome),
      release: (key) => this.release(key),
    }
  }

  /** The process is gone: its commands may run elsewhere, its parked messages wait for {@link takeOver}. */
  workerLost(worker: string): void {
    this.#lives.end(worker)
    this.#book.lose(worker)
    for (const [id, keeper] of this.#keepers) if (keeper === worker) this.#abandoned.add(id)
  }

  /**
   * Parked messages of these routes that nobody finishes: from an earlier life of this installation or from a lost
   * worker. They are this worker's from here on, in the order they were parked. With the routes that this worker `has` at
   * all, those come too whose route no worker has: they need somebody who ends them.
   */
  async takeOver(worker: string, routes: ReadonlySet<string>, has: ReadonlySet<string> = NONE): Promise<ParkedHead[]> {
    await this.start()
    const lives = this.#lives.of(worker)
    if (has.size > 0) this.#had.set(worker, has)
    // Workers may have been started with different routers: what one of them has is not gone.
    const had = [...this.#had.values()]
    const isGone = (route: string) => has.size > 0 && !had.some((routes) => routes.has(route))
    const mine = ({ id, route, keeper }: ParkedHead) =>
      (routes.has(route) || isGone(route)) &&
      keeper?.instance === this.#options.owner.instance &&
      (this.#abandoned.has(id) || (keeper.boot !== this.#options.owner.boot && !this.#keepers.has(id)))
    const damaged = (id: string, route: string) => {
      this.#options.logger.error({ parked_id: id, route }, 'a parked message cannot be read; it stays where it is')
    }
    // The spool first: what goes from there into the table meanwhile is seen twice, and not missed.
    const spooled = new Map<string, ParkedHead>()
    const finished = new Set<string>()
    for await (const { record } of this.#queue.records()) {
      if (record.op === 'unpark') finished.add(record.id)
      if (record.op !== 'park') continue
      const { payload: _, ...kept } = record.message
      spooled.set(record.id, { ...kept, id: record.id })
    }
    const inTable: ParkedHead[] = []
    for (let from: number | undefined = 0; from !== undefined; ) {
      const { heads, next } = await this.#options.tables.parked.page(
        this.#options.parkedPage ?? PARKED_PAGE,
        from,
        damaged,
      )
      inTable.push(...heads.filter((head) => mine(head)))
      from = next
    }
    if (!lives()) throw workerGone(worker)
    const found: ParkedHead[] = []
    for (const message of new Map([...inTable.map((one) => [one.id, one] as const), ...spooled]).values()) {
      // Asked only now: another worker of the same routes may have taken it since.
      if (finished.has(message.id) || !mine(message)) continue
      this.#abandoned.delete(message.id)
      this.#keepers.set(message.id, worker)
      found.push(message)
    }
    return found
  }

  /** The devices, for commands that run under a claim: what such a command wrote is not written again. */
  guardField(field: FieldPort): FieldPort {
    return this.#journal.guard(field)
  }

  async deadLetter(letter: DeadLetter, id: string = randomUUID()): Promise<void> {
    await this.#keep({ op: 'dead', id, letter }, (tables) => tables.deadLetters.put(letter, id))
  }

  park(message: Omit<ParkedMessage, 'id'>): Promise<string> {
    return this.#park(message, GATEWAY)
  }

  async unpark(id: string): Promise<void> {
    await this.#keep({ op: 'unpark', id }, (tables) => tables.parked.remove(id))
    this.#keepers.delete(id)
    this.#abandoned.delete(id)
  }

  async fetchParked(id: string): Promise<ParkedMessage | undefined> {
    await this.start()
    return this.#queue.fetchParked(id)
  }

  claim(key: string, payloadHash: string): Promise<Claim> {
    return this.#claim(key, payloadHash, GATEWAY)
  }

  async complete(key: string, outcome: ClaimOutcome): Promise<void> {
    this.#book.ending(key)
    const payloadHash = this.#book.hashOf(key)
    const record = { op: 'complete' as const, key, outcome, ...(payloadHash !== undefined && { payloadHash }) }
    try {
      await this.#keep(record, (tables) => tables.claims.complete(key, outcome))
    } finally {
      // True for the copies of this life, kept or not.
      this.#book.done(key, outcome)
      this.#journal.forget(key)
    }
  }

  async release(key: string): Promise<void> {
    if (this.#book.isDone(key)) return
    this.#book.ending(key)
    this.#journal.forget(key)
    try {
      await this.#keep({ op: 'release', key }, (tables) => tables.claims.release(key))
      this.#book.forget(key)
      this.#known.delete(key)
    } catch (error) {
      // The claim stands in the table; in this life whoever asks next has it.
      this.#book.orphan(key)
      this.#options.logger.warn({ err: error }, 'a claim that did nothing could not be given back')
    }
  }

  async #park(message: Omit<ParkedMessage, 'id'>, worker: string, lives: () => boolean = always): Promise<string> {
    const id = randomUUID()
    const kept = { ...message, keeper: this.#options.owner }
    await this.#keep(
      { op: 'park', id, message: kept },
      (tables) => tables.parked.put(kept, id),
      (error) => {
        // The database would refuse it later too, when it is acknowledged: it stays on its lane.
        if (isFaultOfRow(error)) throw error
      },
    )
    if (!lives()) {
      // It never learned that the message is kept, so it has not acknowledged it: the broker delivers it again.
      await this.unpark(id)
      throw workerGone(worker)
    }
    this.#keepers.set(id, worker)
    return id
  }

  async #claim(key: string, payloadHash: string, worker: string, lives: () => boolean = always): Promise<Claim> {
    await this.start()
    if (!lives()) throw workerGone(worker)
    let known = this.#book.look(key, payloadHash)
    if (known === 'orphan') {
      this.#book.running(key, payloadHash, worker)
      return { state: 'claimed' }
    }
    if (known?.state === 'running') {
      await this.#book.whenEnded(key, this.#options.copyWaitMs ?? COPY_WAIT_MS)
      known = this.#book.look(key, payloadHash)
      return known === undefined || known === 'orphan' ? this.#claim(key, payloadHash, worker, lives) : known
    }
    if (known !== undefined) return known
    // Taken here before the table is asked: a second copy that asks meanwhile waits.
    this.#book.running(key, payloadHash, worker)
    let claim: Claim | undefined
    try {
      claim = await this.#claimInTable(key, payloadHash)
      return claim
    } finally {
      if (claim?.state === 'done') this.#book.done(key, claim.outcome)
      else if (claim?.state !== 'claimed') this.#book.forget(key)
    }
  }

  async #claimInTable(key: string, payloadHash: string): Promise<Claim> {
    const { tables, owner } = this.#options
    const record: SpoolRecord = { op: 'claim', key, payloadHash, owner }
    const isNew = this.#known.isNew(key)
    // An operation on it waits in the spool, so the table is not asked; nor does the book know it any more.
    if (this.#queue.waits(record) && !isNew) throw cannotTell(undefined)
    let found: Claim = { state: 'claimed' }
    await this.#keep(
      record,
      async () => {
        found = await tables.claims.claim(key, payloadHash, owner)
      },
      (error) => {
        if (error instanceof RouteMQError && error.code === 'IDEMPOTENCY_KEY_REUSED') throw error
        // Nobody can tell whether this command has run before: rather not at all than twice.
        if (!isNew) throw cannotTell(error)
      },
    )
    return found
  }

  async #keep(...operation: Parameters<TableQueue['keep']>): Promise<void> {
    await this.start()
    await this.#queue.keep(...operation)
  }
}

const always = () => true
const NONE: ReadonlySet<string> = new Set()

function cannotTell(cause: unknown): RouteMQError {
  return new RouteMQError(
    'DATABASE_UNAVAILABLE',
    'the database is away, and whether this command has run before cannot be told without it',
    { cause },
  )
}
