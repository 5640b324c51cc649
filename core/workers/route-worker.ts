import type { Config } from '../config/config.js'
import type { AppDatabase } from '../database/app-tables.js'
import type { ClaimOutcome, StoredMessage } from '../delivery/delivery-store.js'
import { type CallingPublisher, DeliveryEngine } from '../delivery/engine.js'
import { encodePayload } from '../mqtt/codec.js'
import { type DrainOutcome, drainSession } from '../mqtt/drain-session.js'
import { Lane, type LaneOptions } from '../mqtt/lane.js'
import type { PublishOptions } from '../mqtt/message.js'
import { PublishingLink } from '../mqtt/publishing-link.js'
import { planSubscriptions } from '../mqtt/subscription-planner.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import type { CallOptions } from '../router/context.js'
import type { Dispatcher, PlannedSubscription, Route } from '../router/route.js'
import { type Clock, sleep } from '../support/clock.js'
import { clientIdOf } from './client-id.js'
import { type WorkerRole, type WorkerStats, workerName } from './protocol.js'
import { type GatewayServices, remoteOutbox } from './services.js'
import { type HeldSession, retiredFrom, type SessionAge } from './session-book.js'
import { tracedPublisher, tracedRuns } from './traced.js'

/** A worker waits for its broker as long as it takes; this is as long as a timer can be (2^31 - 1 ms). */
const LONGEST_TIMER_MS = 2_147_483_647
/** How long the messages of an adopted session may take; what is left then stays for the next try. */
const ADOPT_MS = 60_000
const TAKE_OVER_AGAIN_MS = 2_000

export interface RouteWorkerOptions {
  readonly role: WorkerRole
  readonly config: Config
  readonly brokerUrl: string
  /** Loads the routes; handed what controllers may ask for by name. */
  readonly load: (services: object, around?: (route: Route) => Route['run']) => Promise<Dispatcher>
  readonly services: GatewayServices
  /** Number of slots that shared routes are dealt over. */
  readonly slots: number
  /** Sessions that the broker keeps for this installation. */
  readonly held: readonly HeldSession[]
  /** Only where traces are made. */
  readonly tracing?: Tracing | undefined
  readonly logger: Logger
  readonly clock: Clock
  /** The application's tables; nothing is opened before a handler or a controller asks. */
  readonly db: () => AppDatabase
  /** Told when lanes lose their broker after the start, and when all are subscribed again. */
  readonly onServing?: (serving: boolean) => void
  /** Something that ends this worker: its client id was taken over, a subscription was refused after the start. */
  readonly onFatal: (error: Error) => void
}

/**
 * Runs route code: one publishing link, the lanes that its role calls for, one delivery engine between them. The same
 * program in a worker process and, with `--workers 0`, inside the gateway.
 */
export class RouteWorker {
  readonly #options: RouteWorkerOptions
  readonly #link: PublishingLink
  readonly #engine: DeliveryEngine
  readonly #dispatcher: Dispatcher
  readonly #stopping = new AbortController()
  #ready = false
  #served = true
  /** Ends the adoption of a session, by client id. */
  readonly #adoptions = new Map<string, AbortController>()
  readonly #adopting = new Set<Promise<DrainOutcome>>()
  #lanes: Lane[] = []
  #sessions: readonly HeldSession[] = []

  private constructor(
    options: RouteWorkerOptions,
    link: PublishingLink,
    publisher: CallingPublisher,
    dispatcher: Dispatcher,
  ) {
    this.#options = options
    this.#link = link
    this.#dispatcher = dispatcher
    const { config, services, logger, clock, db } = options
    this.#engine = new DeliveryEngine({
      dispatcher,
      publisher,
      field: services.field,
      store: services.store,
      watch: services.watch,
      logger,
      clock,
      db,
      config: config.mqtt,
    })
  }

  /** Loads the application's routes; nothing connects before {@link start}. */
  static async forApplication(options: RouteWorkerOptions): Promise<RouteWorker> {
    const { role, config, brokerUrl, services, tracing, logger, clock, onFatal, db } = options
    const clientId = clientIdOf(config, workerName(role), 'pub')
    const link = new PublishingLink({
      config: config.mqtt,
      url: brokerUrl,
      clientId,
      status: { topic: `routemq/${clientId}/status`, online: 'online', offline: 'offline' },
      outbox: remoteOutbox(services),
      logger,
      clock,
      onFatal,
    })
    const publisher = tracing === undefined ? link : tracedPublisher(link, tracing)
    const handed = {
      config,
      devices: services.field,
      log: logger,
      get db() {
        return db()
      },
      publish: (topic: string, payload: unknown, how?: PublishOptions) =>
        publisher.publish(topic, encodePayload(payload, undefined), how),
      call: (topic: string, payload: unknown, how?: CallOptions) => publisher.call(topic, payload, how),
    }
    const dispatcher = await options.load(handed, tracing === undefined ? undefined : tracedRuns(tracing))
    return new RouteWorker(options, link, publisher, dispatcher)
  }

  /** True while every subscription is granted. */
  get ready(): boolean {
    return this.#ready && this.#lanes.every(({ state }) => state.name === 'connected')
  }

  /** Its lanes and what they are subscribed to; after {@link start}. */
  get sessions(): readonly HeldSession[] {
    return this.#sessions
  }

  /** Resolves when every subscription of this worker is granted, however long the broker is away. */
  async start(): Promise<void> {
    await this.#link.start({ limitMs: LONGEST_TIMER_MS, keepTrying: true })
    const { config, role, slots, held } = this.#options
    const plan = planSubscriptions(this.#dispatcher.routes, {
      groupName: config.mqtt.groupName,
      slots,
      subscriptionIdentifiers: this.#link.protocol === 5,
    })
    this.#sessions = sessionsOf(plan, role, config)
    await this.takeOver()
    this.#lanes = this.#sessions.map((session) => {
      const before = held.find(({ clientId }) => clientId === session.clientId)
      const options = this.#laneOptions(session, retiredFrom(before, session.subscriptions), before?.heldSince)
      return new Lane({ ...options, onState: () => this.#tellServing() })
    })
    await Promise.all(this.#lanes.map((lane) => lane.start({ limitMs: LONGEST_TIMER_MS, keepTrying: true })))
    this.#ready = true
    this.#tellServing()
  }

  /** Handles what the broker keeps for a lane that nobody opens any more, and ends its session. */
  async adopt(session: HeldSession): Promise<DrainOutcome> {
    const end = new AbortController()
    this.#adoptions.set(session.clientId, end)
    const drained = drainSession(
      this.#laneOptions(session, [], session.heldSince),
      ADOPT_MS,
      AbortSignal.any([end.signal, this.#stopping.signal]),
    )
    this.#adopting.add(drained)
    try {
      return await drained
    } finally {
      this.#adopting.delete(drained)
      this.#adoptions.delete(session.clientId)
    }
  }

  /** Closes an adopted session without ending it, because its owner is back; {@link adopt} resolves with `kept` then. */
  letGo(clientId: string): void {
    this.#adoptions.get(clientId)?.abort()
  }

  /**
   * `keep` leaves the sessions at the broker, so that nothing published meanwhile is lost; `leave` drains and ends them.
   *
   * @returns client ids whose session was ended
   */
  async stop(how: 'keep' | 'leave', deadlineMs: number): Promise<string[]> {
    const { clock } = this.#options
    this.#stopping.abort()
    this.#ready = false
    const endsAt = clock.monotonic() + deadlineMs
    const left = () => Math.max(0, endsAt - clock.monotonic())
    const ended = await Promise.all(
      this.#lanes.map(async (lane) => {
        if (how === 'leave') return (await lane.leave(left())) ? [lane.clientId] : []
        await lane.drain(left())
        await lane.stop()
        return []
      }),
    )
    // They were told to close, and have no more time than the rest.
    await Promise.race([Promise.all(this.#adopting), sleep(left(), undefined, clock)])
    await this.#engine.drain(left())
    await this.#engine.stop()
    await this.#link.stop()
    this.#lanes = []
    return ended.flat()
  }

  /** Runs one kept message again, for `dead:retry`. */
  run(message: StoredMessage, force: boolean): Promise<ClaimOutcome> {
    return this.#engine.run(message, { force })
  }

  /** How old what its sessions hold can be. */
  ages(): SessionAge[] {
    return this.#lanes.map((lane) => ({ clientId: lane.clientId, heldSince: lane.heldSince }))
  }

  stats(): WorkerStats {
    return {
      connected: this.#link.state.name === 'connected',
      memoryMb: Math.round(process.memoryUsage().rss / 1_048_576),
      delivery: { ...this.#engine.stats() },
      lanes: this.#lanes.map((lane) => ({ ...lane.stats() })),
      ages: this.ages(),
    }
  }

  /**
   * Finishes what was parked before, ahead of what comes now. While the database is away nobody can say what that is; then
   * new messages do not wait for it.
   */
  async takeOver(): Promise<void> {
    // Only what this worker subscribes to, so that a key stays with the worker that keeps its order.
    const routes = new Set(this.#sessions.flatMap(({ subscriptions }) => subscriptions.flatMap((one) => one.routes)))
    const { services, clock, logger } = this.#options
    try {
      const has = this.#dispatcher.routes.map(({ id }) => id)
      this.#engine.resume(await services.takeOver([...routes], has))
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      logger.debug({ error }, 'parked messages cannot be read yet')
      clock.after(TAKE_OVER_AGAIN_MS, () => void this.takeOver(), { unref: true })
    }
  }

  #tellServing(): void {
    if (!this.#ready || this.ready === this.#served) return
    this.#served = this.ready
    this.#options.onServing?.(this.#served)
  }

  #laneOptions(
    { clientId, lane, subscriptions }: HeldSession,
    retired: readonly PlannedSubscription[],
    lastHeldAt: number | undefined,
  ): LaneOptions {
    const { config, brokerUrl, logger, clock, onFatal } = this.#options
    return {
      config: config.mqtt,
      url: brokerUrl,
      clientId,
      name: lane,
      subscriptions,
      retired,
      ...(lastHeldAt === undefined ? {} : { lastHeldAt }),
      window: config.mqtt.window,
      onMessage: this.#engine.intake([...subscriptions, ...retired]),
      onFatal,
      logger,
      clock,
    }
  }
}

/** The lanes of a role, each with the client id under which the broker keeps its session. */
function sessionsOf(plan: readonly PlannedSubscription[], role: WorkerRole, config: Config): HeldSession[] {
  const sessions = new Map<string, { clientId: string; lane: string; subscriptions: PlannedSubscription[] }>()
  for (const subscription of plan.filter((one) => servedBy(one, role))) {
    // In one process (`all`) the lanes have the ids of the workers they would be in.
    const seat = role.kind === 'slot' ? workerName(role) : subscription.slots === 'solo' ? 'solo' : 'slot-1'
    const clientId = clientIdOf(config, seat, subscription.lane)
    const session = sessions.get(clientId) ?? { clientId, lane: `${seat}/${subscription.lane}`, subscriptions: [] }
    session.subscriptions.push(subscription)
    sessions.set(clientId, session)
  }
  return [...sessions.values()]
}

/** Whether a subscription is one of a role's. */
export function servedBy(subscription: PlannedSubscription, role: WorkerRole): boolean {
  if (role.kind === 'all') return true
  if (role.kind === 'solo') return subscription.slots === 'solo'
  return subscription.slots !== 'solo' && subscription.slots.includes(role.slot)
}
