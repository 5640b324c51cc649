import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { Lease } from '../database/repositories/leases.js'
import type { BusHolder, BusOwnership } from '../modbus/ownership.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'

/** Where leases are kept: the SQL database, or lock files of one host. */
export interface LeaseBook {
  acquireAll(names: readonly string[], owner: string, termMs: number): Promise<ReadonlyMap<string, Lease>>
  releaseAll(names: readonly string[], owner: string): Promise<void>
  list(): Promise<readonly { readonly name: string; readonly owner: string; readonly renewed_at: string }[]>
}

/** Buses that changed hands together. */
export interface HolderChange {
  readonly buses: readonly string[]
  readonly holder: BusHolder
  /** True where there are other installations: alone, owning a bus is nothing to tell. */
  readonly shared: boolean
  /** True where this installation had them open until now. */
  readonly lost: boolean
}

export interface BusLeasesOptions {
  readonly book: LeaseBook
  /** This installation: ROUTEMQ_INSTANCE. */
  readonly owner: string
  /** Keeps who else was ever seen in the book, over a restart. */
  readonly neighboursFile: string
  /** A lease unrenewed for so long may be taken. @default 8000 */
  readonly termMs?: number
  /** True where this host can open the bus at all. @default every bus */
  readonly reachable?: (bus: string) => boolean
  /** Buses came or went. A lost one must be closed before this returns. */
  readonly onChange?: (change: HolderChange) => void
  readonly logger: Logger
  readonly clock: Clock
}

/** How long a lease lasts that nobody renews. */
export const BUS_TERM_MS = 8_000
/** A request waits so long for a bus that is not decided yet. */
const DECISION_MS = 3_000
/** Leases are given back within this, or lapse. */
const RELEASE_MS = 1_000
/** Other installations are looked for once in so many rounds. */
const LOOK_AROUND = 15
/** An installation not heard of for a day is no neighbour any more. */
const GONE_MS = 86_400_000

const BUS = 'bus/'
const INSTALLATION = 'installation/'
/** Begins the owners that are commands of the command line; no instance may have a colon. */
export const COMMAND = 'command:'
const UNDECIDED: BusHolder = { mine: false, owner: null, reason: 'it is not decided yet who owns it' }
const DOUBTFUL: BusHolder = {
  mine: false,
  owner: null,
  reason:
    'this process stood still for longer than a lease lasts; the database must confirm that the bus is still its own',
}
const UNREACHABLE: BusHolder = { mine: false, owner: null, reason: 'there is no such line on this host' }

/**
 * Which buses this installation may open. A holder keeps its buses while the database is away: nobody else can take
 * them then. A challenger takes a bus only after it saw the lease unrenewed for a whole term.
 *
 * Started while the database is away, an installation that never saw another goes alone; one that did stands by.
 */
export class BusLeases implements BusOwnership {
  readonly #options: BusLeasesOptions
  readonly #termMs: number
  readonly #mine: BusHolder
  readonly #holders = new Map<string, BusHolder>()
  readonly #neighbours: Set<string>
  /** Monotonic time of the last sign that this process runs. */
  #beat: number
  #cancelBeat: (() => void) | undefined
  #round: Promise<void> | undefined
  /** The round that runs knows too little: nothing of a bus that was wanted meanwhile, or only what was long ago. */
  #again = false
  #rounds = 0
  #isAway = false
  #stopping: Promise<void> | undefined

  constructor(options: BusLeasesOptions) {
    this.#options = options
    this.#termMs = options.termMs ?? BUS_TERM_MS
    this.#mine = { mine: true, owner: options.owner }
    this.#neighbours = new Set(readNeighbours(options.neighboursFile))
    this.#beat = options.clock.monotonic()
  }

  start(): void {
    if (this.#cancelBeat === undefined && this.#stopping === undefined) this.#beatLater()
  }

  /** Gives everything back. Close the buses first. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  /** Makes these the buses that are wanted. */
  want(buses: Iterable<string>): void {
    const wanted = new Set(buses)
    const given = [...this.#holders.keys()].filter((bus) => !wanted.has(bus))
    const held = given.filter((bus) => this.#holders.get(bus)!.mine)
    for (const bus of given) this.#holders.delete(bus)
    // The field closes what has no device any more within two seconds.
    if (held.length > 0) this.#options.clock.after(2_000, () => this.#giveBack(held), { unref: true })
    for (const bus of wanted) if (!this.#holders.has(bus)) this.#holders.set(bus, UNDECIDED)
    this.#again = this.#round !== undefined
    void this.#goRound()
  }

  holder(bus: string): BusHolder {
    const holder = this.#holders.get(bus) ?? UNDECIDED
    // Others may have taken it while this process stood still, and timers run only after whoever asks now.
    return holder.mine && this.#stoodStill() ? DOUBTFUL : holder
  }

  decided(bus: string): Promise<void> | undefined {
    if (!this.#holders.has(bus)) this.#holders.set(bus, UNDECIDED)
    if (!this.#isOpen(bus)) return undefined
    let cancel = () => {}
    const late = new Promise<void>((resolve) => {
      cancel = this.#options.clock.after(DECISION_MS, resolve)
    })
    // The round that runs may have begun before this bus was wanted.
    const next = this.#goRound().then(() => (this.#isOpen(bus) ? this.#goRound() : undefined))
    return Promise.race([next, late]).finally(cancel)
  }

  #isOpen(bus: string): boolean {
    const holder = this.holder(bus)
    return holder === UNDECIDED || holder === DOUBTFUL
  }

  /** Buses that others own. */
  standby(): { readonly bus: string; readonly owner: string | null; readonly reason: string }[] {
    return [...this.#holders].flatMap(([bus, holder]) =>
      holder.mine ? [] : [{ bus, owner: holder.owner, reason: holder.reason }],
    )
  }

  #stoodStill(): boolean {
    return this.#options.clock.monotonic() - this.#beat > this.#termMs
  }

  #beatLater(): void {
    this.#cancelBeat = this.#options.clock.after(
      this.#termMs / 4,
      () => {
        if (this.#stoodStill()) {
          for (const [bus, { mine }] of this.#holders) if (mine) this.#holders.set(bus, DOUBTFUL)
        }
        this.#beat = this.#options.clock.monotonic()
        void this.#goRound()
        this.#beatLater()
      },
      { unref: true },
    )
  }

  #goRound(): Promise<void> {
    if (this.#stopping !== undefined) return Promise.resolve()
    this.#round ??= this.#look()
      .catch((error: unknown) => this.#options.logger.error({ err: error }, 'a round of leases failed'))
      .finally(() => {
        this.#round = undefined
        if (!this.#again) return
        this.#again = false
        void this.#goRound()
      })
    return this.#round
  }

  async #look(): Promise<void> {
    const { book, owner, reachable = () => true, clock } = this.#options
    const askedAt = clock.monotonic()
    const holders = [...this.#holders]
    const alone = this.#neighbours.size === 0
    // A line of another host is not competed for; alone, an adapter that is unplugged is an outage and says so.
    const wanted = holders.filter(([bus, { mine }]) => mine || alone || reachable(bus)).map(([bus]) => bus)
    let leases: ReadonlyMap<string, Lease>
    try {
      leases = await book.acquireAll([INSTALLATION + owner, ...wanted.map(busLease)], owner, this.#termMs)
      if (this.#rounds++ % LOOK_AROUND === 0) await this.#lookAround()
    } catch (error) {
      this.#goOnAlone(error)
      return
    }
    // Stood still meanwhile, this process reads what the database said before others could take over.
    if (clock.monotonic() - askedAt > this.#termMs) {
      this.#again = true
      return
    }
    if (this.#isAway) this.#options.logger.info({}, 'leases of buses are renewed again')
    this.#isAway = false
    this.#settle(
      holders.map(([bus]) => {
        const lease = leases.get(busLease(bus))
        if (lease === undefined) return [bus, UNREACHABLE]
        if (lease.held) return [bus, this.#mine]
        // A command is gone soon: it is no neighbour to stand by for.
        if (lease.owner.startsWith(COMMAND)) {
          return [bus, { mine: false, owner: lease.owner, reason: `${lease.owner} uses it just now` }]
        }
        this.#meet(lease.owner)
        return [bus, { mine: false, owner: lease.owner, reason: `installation ${lease.owner} owns it` }]
      }),
    )
  }

  /** The database is away: what is held stays held. */
  #goOnAlone(error: unknown): void {
    if (!this.#isAway)
      this.#options.logger.warn({ err: error }, 'leases of buses cannot be renewed; buses stay where they are')
    this.#isAway = true
    const others = [...this.#neighbours].join(', ')
    this.#settle(
      [...this.#holders]
        .filter(([, holder]) => holder === UNDECIDED || holder === DOUBTFUL)
        .map(([bus]) => {
          if (others === '') return [bus, this.#mine]
          const reason = `the database is away, and installation ${others} may own it`
          return [bus, { mine: false, owner: null, reason }]
        }),
    )
  }

  #settle(decisions: readonly (readonly [bus: string, holder: BusHolder])[]): void {
    const changes = new Map<string, HolderChange & { buses: string[] }>()
    for (const [bus, holder] of decisions) {
      const before = this.#holders.get(bus)
      // Given up meanwhile, or as it was.
      if (before === undefined || sameHolder(before, holder)) continue
      this.#holders.set(bus, holder)
      if (before === DOUBTFUL && holder.mine) continue
      const lost = !holder.mine && (before.mine || before === DOUBTFUL)
      const key = `${lost} ${holder.mine} ${holder.owner}`
      const change = changes.get(key)
      if (change === undefined) changes.set(key, { buses: [bus], holder, lost, shared: this.#neighbours.size > 0 })
      else change.buses.push(bus)
    }
    for (const change of changes.values()) this.#tell(change)
  }

  #tell(change: HolderChange): void {
    const { logger, onChange } = this.#options
    const { buses, holder, lost } = change
    if (lost) logger.warn({ buses, owner: holder.owner }, 'buses were taken over by another installation')
    else if (!holder.mine) logger.info({ buses, owner: holder.owner, reason: holder.reason }, 'standing by for buses')
    else if (change.shared) logger.info({ buses }, 'buses are owned here now')
    onChange?.(change)
  }

  async #lookAround(): Promise<void> {
    const rows = (await this.#options.book.list()).filter(({ name }) => name.startsWith(INSTALLATION))
    const own = rows.find(({ owner }) => owner === this.#options.owner)
    if (own === undefined) return
    // Both times are the database's.
    const heard = rows.filter(({ renewed_at }) => Date.parse(own.renewed_at) - Date.parse(renewed_at) < GONE_MS)
    const names = new Set(heard.map(({ name }) => name.slice(INSTALLATION.length)))
    names.delete(this.#options.owner)
    if (sameSet(names, this.#neighbours)) return
    this.#neighbours.clear()
    for (const name of names) this.#neighbours.add(name)
    this.#keepNeighbours()
  }

  #meet(name: string): void {
    if (this.#neighbours.has(name) || name === '') return
    this.#neighbours.add(name)
    this.#keepNeighbours()
  }

  #keepNeighbours(): void {
    const { neighboursFile, logger } = this.#options
    try {
      writeFileSync(`${neighboursFile}.new`, `${JSON.stringify([...this.#neighbours].sort())}\n`)
      renameSync(`${neighboursFile}.new`, neighboursFile)
    } catch (error) {
      logger.warn({ err: error, file: neighboursFile }, 'the names of other installations could not be kept')
    }
  }

  #giveBack(buses: readonly string[]): void {
    const { book, owner, logger } = this.#options
    // Wanted again meanwhile: then it stays.
    const free = buses.filter((bus) => !this.#holders.has(bus)).map(busLease)
    if (free.length === 0 || this.#stopping !== undefined) return
    book.releaseAll(free, owner).catch((error: unknown) => {
      logger.warn({ err: error, leases: free }, 'leases could not be given back; they lapse')
    })
  }

  async #stop(): Promise<void> {
    const { book, owner, clock, logger } = this.#options
    this.#cancelBeat?.()
    const held = [...this.#holders].filter(([, { mine }]) => mine).map(([bus]) => busLease(bus))
    const late = new Promise<'late'>((resolve) => {
      clock.after(RELEASE_MS, () => resolve('late'), { unref: true })
    })
    // A round that renews after this would take them again.
    const released = (this.#round ?? Promise.resolve()).then(() =>
      book.releaseAll([...held, INSTALLATION + owner], owner),
    )
    try {
      if ((await Promise.race([released, late])) === 'late')
        logger.debug({}, 'leases were not given back in time; they lapse')
    } catch (error) {
      logger.debug({ err: error }, 'leases could not be given back; they lapse')
    }
    released.catch(() => {}) // Said above, where it came in time.
  }
}

/** The name of the lease of a bus. */
export function busLease(bus: string): string {
  return BUS + bus
}

function sameHolder(a: BusHolder, b: BusHolder): boolean {
  return a === b || (a.mine === b.mine && a.owner === b.owner && (a.mine || b.mine || a.reason === b.reason))
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((one) => b.has(one))
}

function readNeighbours(file: string): string[] {
  try {
    const names: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return Array.isArray(names) ? names.filter((name): name is string => typeof name === 'string') : []
  } catch {
    return [] // Nobody was seen yet.
  }
}
