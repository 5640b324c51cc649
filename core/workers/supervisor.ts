import type { ClaimOutcome, StoredMessage } from '../delivery/delivery-store.js'
import { RouteMQError } from '../support/errors.js'
import { type WorkerRole, workerName } from './protocol.js'
import { Seat } from './seat.js'
import type { Credentials, SeatOptions } from './seat-options.js'
import type { HeldSession } from './session-book.js'
import type { WorkerReport } from './worker-report.js'

export type { WorkerReport }

export interface SupervisorOptions extends SeatOptions {
  /** Number of slots to begin with. */
  readonly slots: number
  /** The filters that a role serves with so many slots, and which of them nobody else does. */
  readonly filters: (
    role: WorkerRole,
    slots: number,
  ) => { readonly all: readonly string[]; readonly alone: readonly string[] }
}

const LOOK_EVERY_MS = 1_000

/** Starts worker processes and keeps them running: one that dies while serving is replaced, one that never got ready backs off. */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #seats = new Map<string, Seat>()
  readonly #adopting = new Map<string, Adoption>()
  #slots: number
  #changing: Promise<void> = Promise.resolve()
  #cancelLook = () => {}
  #stopping = false

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#slots = options.slots
  }

  /** Resolves when every worker is ready, or has failed to become ready once (see {@link reports}). */
  async start(roles: readonly WorkerRole[]): Promise<void> {
    this.#lookForOrphans()
    await Promise.all(roles.map((role) => this.#add(role).start()))
  }

  /** Number of slots that shared routes are dealt over. */
  get slots(): number {
    return this.#slots
  }

  reports(): WorkerReport[] {
    return [...this.#seats.values()].map((seat) => seat.report())
  }

  get allReady(): boolean {
    return [...this.#seats.values()].every((seat) => seat.isServing)
  }

  /**
   * Replaces workers one after the other. One whose routes others serve too drains and ends its session first; one that is
   * alone with a route keeps it, so that the broker queues what comes meanwhile. Rejects with WORKER_LOST, and leaves the
   * rest as they are, where one does not get ready; where the broker is away, after `deadlineMs`.
   */
  restart(name: string | undefined, deadlineMs: number): Promise<void> {
    return this.#oneAtATime(async () => {
      for (const seat of name === undefined ? [...this.#seats.values()] : [this.#seat(name)]) {
        await this.#replace(seat, deadlineMs)
      }
    })
  }

  /**
   * Changes the number of slots. New ones come first, then those that stay take what they serve from now on, and those
   * that go drain and end their sessions last: at no time is a route without a session at the broker. Where one does not
   * get ready nobody goes; asked once more, it goes on from there.
   */
  scale(slots: number, deadlineMs: number): Promise<void> {
    return this.#oneAtATime(async () => {
      this.#slots = slots
      const staying = rolesUpTo(slots)
      const added = staying.filter((role) => !this.#seats.has(workerName(role)))
      await Promise.all(added.map((role) => this.#add(role).start(deadlineMs)))
      for (const role of added) this.#demandReady(this.#seat(workerName(role)))
      for (const role of staying) {
        const seat = this.#seat(workerName(role))
        if (this.#serves(seat, seat.dealtOver ?? slots) !== this.#serves(seat, slots)) {
          await this.#replace(seat, deadlineMs)
        }
      }
      const leaving = [...this.#seats.values()].filter(({ role }) => role.kind === 'slot' && role.slot > slots)
      if (leaving.length === 0) return
      for (const role of staying) this.#demandReady(this.#seat(workerName(role)))
      await Promise.all(
        leaving.map(async (seat) => {
          await seat.stop('leave', deadlineMs)
          this.#seats.delete(seat.name)
        }),
      )
      // What those that went had parked is finished by those that stay.
      for (const seat of this.#seats.values()) seat.takeOver()
    })
  }

  /** Hands them to every worker that runs; those that start later have them from their assignment. */
  useCredentials(credentials: Credentials): void {
    for (const seat of this.#seats.values()) seat.useCredentials(credentials)
  }

  async #replace(seat: Seat, deadlineMs: number): Promise<void> {
    await seat.stop(this.#isHeldByOthers(seat) ? 'leave' : 'keep', deadlineMs)
    await seat.start(deadlineMs)
    this.#demandReady(seat)
  }

  /** Whether another slot that serves has each filter of this one: only then may its session end. */
  #isHeldByOthers(seat: Seat): boolean {
    if (seat.role.kind !== 'slot' || seat.state.name !== 'ready') return false
    const others = [...this.#seats.values()].filter(
      (other) => other !== seat && other.role.kind === 'slot' && other.state.name === 'ready',
    )
    const held = new Set(others.flatMap((other) => other.filters))
    return others.length > 0 && seat.filters.every((filter) => held.has(filter))
  }

  /** What stops one worker from getting ready (an edit with a mistake, say) would stop the next one too. */
  #demandReady(seat: Seat): void {
    if (seat.state.name === 'ready' || this.#stopping) return
    const state = seat.isReturning ? 'it is not subscribed yet, and goes on trying' : seat.state.name
    const reason = seat.report().reason ?? state
    this.#options.logger.error(
      { worker: seat.name, reason },
      'a worker did not get ready; the others are left as they are',
    )
    throw new RouteMQError(
      'WORKER_LOST',
      `worker ${seat.name} did not get ready: ${reason}; the others are left as they are`,
    )
  }

  #serves({ role }: Seat, slots: number): string {
    return this.#options.filters(role, slots).all.join()
  }

  #oneAtATime(change: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(change)
    this.#changing = done.catch(() => {})
    return done
  }

  /** Sessions at the broker that no worker opens: of routes, slots and client ids that are no more, and of slots that stay down. */
  #lookForOrphans(): void {
    if (this.#stopping) return
    this.#cancelLook = this.#options.clock.after(
      LOOK_EVERY_MS,
      () => {
        this.#adoptOrphans()
        this.#lookForOrphans()
      },
      { unref: true },
    )
  }

  #adoptOrphans(): void {
    const { book, logger } = this.#options
    const seats = [...this.#seats.values()]
    const helper = seats.find(({ state }) => state.name === 'ready')
    // A seat that has never been ready may still come and open any of them.
    if (helper === undefined || seats.some((seat) => seat.isExpected)) return
    const present = seats.filter((seat) => !seat.isLost)
    const owned = new Set(present.flatMap((seat) => seat.clientIds))
    const returning = new Set(seats.filter((seat) => seat.isReturning).map((seat) => seat.name))
    for (const session of book.all()) {
      const { clientId, lane } = session
      if (owned.has(clientId) || returning.has(seatOf(session)) || this.#adopting.has(clientId)) continue
      if (this.#isAwaited(session)) continue
      logger.info({ lane, client_id: clientId, worker: helper.name }, 'a session that nobody opens is being drained')
      const ended = helper.adopt(session).then((outcome) => {
        this.#adopting.delete(clientId)
        logger.info({ lane, client_id: clientId, outcome }, 'the session that nobody opened')
        if (outcome === 'drained') book.ended([clientId])
      })
      this.#adopting.set(clientId, { session, helper, ended })
      // What it had parked of routes that the helper serves too need not wait for it: no order spans two slots.
      if (this.#seats.get(seatOf(session))?.isLost === true) helper.takeOver()
    }
  }

  /** Its owner is down and alone with one of its routes: whoever drained it would leave that route without a session. */
  #isAwaited(session: HeldSession): boolean {
    const owner = this.#seats.get(seatOf(session))
    if (owner === undefined || owner.state.name === 'ready') return false
    const alone = new Set(this.#options.filters(owner.role, this.#slots).alone)
    return session.subscriptions.some(({ filter }) => alone.has(filter))
  }

  /** Before a worker opens its sessions nobody else may have them open: a broker lets one client id in at a time. */
  async #returnSessions(owner: string): Promise<void> {
    const lent = [...this.#adopting.values()].filter(({ session }) => seatOf(session) === owner)
    for (const { session, helper } of lent) helper.letGo(session.clientId)
    await Promise.all(lent.map(({ ended }) => ended))
  }

  /** Runs one kept message again, in any worker that serves. */
  async run(message: StoredMessage, force: boolean): Promise<ClaimOutcome> {
    const seat = [...this.#seats.values()].find(({ state }) => state.name === 'ready')
    if (seat === undefined) throw new RouteMQError('WORKER_LOST', 'no worker is ready to run the message')
    return seat.run(message, force)
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true
    this.#cancelLook()
    await Promise.all([...this.#seats.values()].map((seat) => seat.close(deadlineMs)))
    this.#options.book.flush()
  }

  #add(role: WorkerRole): Seat {
    if (this.#stopping) throw new RouteMQError('SHUTTING_DOWN', 'the supervisor is stopping')
    const seat = new Seat(role, this.#options, {
      slots: () => this.#slots,
      sessionsReturned: () => this.#returnSessions(workerName(role)),
      replace: (deadlineMs) => this.restart(workerName(role), deadlineMs),
    })
    this.#seats.set(seat.name, seat)
    return seat
  }

  #seat(name: string): Seat {
    const seat = this.#seats.get(name)
    if (seat !== undefined) return seat
    throw new RouteMQError(
      'WORKER_UNKNOWN',
      `there is no worker ${name}; there are ${[...this.#seats.keys()].join(', ')}`,
    )
  }
}

/** A session that a worker drains in place of its owner. */
interface Adoption {
  readonly session: HeldSession
  readonly helper: Seat
  readonly ended: Promise<void>
}

function rolesUpTo(slots: number): WorkerRole[] {
  return Array.from({ length: slots }, (_, index) => ({ kind: 'slot', slot: index + 1 }))
}

/** The worker whose session it is: lanes are named `{worker}/{lane}`. */
function seatOf({ lane }: HeldSession): string {
  return lane.split('/')[0]!
}
