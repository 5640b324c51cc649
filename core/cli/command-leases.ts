import { BUS_TERM_MS, busLease, type LeaseBook } from '../kernel/bus-leases.js'
import type { BusHolder, BusOwnership } from '../modbus/ownership.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'

export interface CommandLeasesOptions {
  readonly book: LeaseBook
  /** This command alone: an owner that the product has too would let both in. */
  readonly owner: string
  /** Whether an owner has renewed lately; what a dead one left is waited for. @default true */
  readonly isAlive?: (owner: string) => Promise<boolean>
  /** Said to people when the command waits for what a dead owner left. */
  readonly onWait?: (bus: string, owner: string) => void
  /** A bus that was taken over: it must be closed before this returns. */
  readonly onLost?: (bus: string) => void
  readonly termMs?: number
  /** Ends waiting. */
  readonly signal?: AbortSignal
  readonly clock: Clock
}

interface Claim {
  readonly holder: BusHolder
  /** Monotonic time at which the lease was asked for that is held. */
  readonly since: number
  /** It could not be asked for: a full disk, a database that is away. */
  readonly failure?: RouteMQError
}

const RELEASE_MS = 1_000
const UNASKED: BusHolder = { mine: false, owner: null, reason: 'its lease was not asked for yet' }
const LAPSED: BusHolder = { mine: false, owner: null, reason: 'its lease was not confirmed for a whole term' }

/**
 * The buses of one command. Where the product goes on while nobody can decide, a command does not: a bus is its own only
 * as long as the book said so within a term.
 */
export class CommandLeases implements BusOwnership {
  readonly #options: CommandLeasesOptions
  readonly #termMs: number
  readonly #claims = new Map<string, Claim>()
  readonly #asking = new Map<string, Promise<void>>()
  #cancelRenewal: (() => void) | undefined
  #renewal: Promise<void> | undefined
  #stopped = false

  constructor(options: CommandLeasesOptions) {
    this.#options = options
    this.#termMs = options.termMs ?? BUS_TERM_MS
  }

  holder(bus: string): BusHolder {
    const claim = this.#claims.get(bus)
    if (claim === undefined) return UNASKED
    return claim.holder.mine && !this.#isConfirmed(claim) ? LAPSED : claim.holder
  }

  /** Why nobody could be asked for the bus; undefined where somebody was. */
  failure(bus: string): RouteMQError | undefined {
    return this.#claims.get(bus)?.failure
  }

  decided(bus: string): Promise<void> | undefined {
    const claim = this.#claims.get(bus)
    if (claim?.holder.mine === true && this.#isConfirmed(claim)) return undefined
    let asking = this.#asking.get(bus)
    if (asking === undefined) {
      asking = this.#take(bus).finally(() => this.#asking.delete(bus))
      this.#asking.set(bus, asking)
    }
    return asking
  }

  /** Gives everything back. Close the buses first. */
  async stop(): Promise<void> {
    const { book, owner, clock } = this.#options
    this.#stopped = true
    this.#cancelRenewal?.()
    // A round that renews after this would take them again.
    await Promise.allSettled([this.#renewal, ...this.#asking.values()])
    const held = [...this.#claims].filter(([, { holder }]) => holder.mine).map(([bus]) => busLease(bus))
    if (held.length === 0) return
    let cancel = () => {}
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(RELEASE_MS, resolve)
    })
    // What cannot be given back lapses.
    await Promise.race([book.releaseAll(held, owner).catch(() => {}), late]).finally(() => cancel())
  }

  #isConfirmed({ since }: Claim): boolean {
    return this.#options.clock.monotonic() - since < this.#termMs
  }

  async #take(bus: string): Promise<void> {
    const { clock, isAlive = async () => true, onWait, signal } = this.#options
    const until = clock.monotonic() + 1.5 * this.#termMs
    for (let isFirst = true; ; isFirst = false) {
      const owner = await this.#ask(bus)
      if (owner === undefined || this.#stopped || signal?.aborted === true || clock.monotonic() >= until) return
      // Who cannot tell must not wait for a lease to lapse either.
      if (await isAlive(owner).catch(() => true)) return
      if (isFirst) onWait?.(bus, owner)
      await this.#pause()
    }
  }

  /** Asks the book once; the other owner, where there is one. */
  async #ask(bus: string): Promise<string | undefined> {
    const { book, owner, clock } = this.#options
    const since = clock.monotonic()
    const name = busLease(bus)
    try {
      const lease = (await book.acquireAll([name], owner, this.#termMs)).get(name)!
      if (lease.held) {
        this.#claims.set(bus, { holder: { mine: true, owner }, since })
        this.#renewLater()
        return undefined
      }
      const reason = `${lease.owner} owns it; stop that, or run the command where it runs`
      this.#claims.set(bus, { holder: { mine: false, owner: lease.owner, reason }, since })
      return lease.owner
    } catch (error) {
      const reason = `its lease cannot be had: ${(error as Error).message}`
      const failure = new RouteMQError('SPOOL_FAILED', `Bus ${bus} is not opened here: ${reason}`, { cause: error })
      this.#claims.set(bus, { holder: { mine: false, owner: null, reason }, since, failure })
      return undefined
    }
  }

  #pause(): Promise<void> {
    const { clock, signal } = this.#options
    return new Promise((resolve) => {
      const cancel = clock.after(this.#termMs / 4, () => end())
      const end = () => {
        cancel()
        signal?.removeEventListener('abort', end)
        resolve()
      }
      signal?.addEventListener('abort', end, { once: true })
    })
  }

  #renewLater(): void {
    if (this.#stopped) return
    this.#cancelRenewal ??= this.#options.clock.after(
      this.#termMs / 4,
      () => {
        this.#cancelRenewal = undefined
        this.#renewal = this.#renew().finally(() => this.#renewLater())
      },
      { unref: true },
    )
  }

  async #renew(): Promise<void> {
    const { book, owner, clock, onLost } = this.#options
    const since = clock.monotonic()
    const held = [...this.#claims].filter(([, { holder }]) => holder.mine).map(([bus]) => bus)
    let leases: Awaited<ReturnType<LeaseBook['acquireAll']>>
    try {
      leases = await book.acquireAll(held.map(busLease), owner, this.#termMs)
    } catch {
      return // It lapses where this goes on for a term.
    }
    for (const bus of held) {
      const lease = leases.get(busLease(bus))!
      if (lease.held) {
        this.#claims.set(bus, { holder: { mine: true, owner }, since })
        continue
      }
      const reason = `${lease.owner} took it over`
      this.#claims.set(bus, { holder: { mine: false, owner: lease.owner, reason }, since })
      onLost?.(bus)
    }
  }
}
