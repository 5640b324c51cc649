import type { Logger } from '../observability/logger.js'
import type { PlannedSubscription } from '../router/route.js'
import type { Clock } from '../support/clock.js'
import type { Connection } from './connection.js'
import { needIdentifiers, type Refusal, subscribeAll } from './subscribing.js'

export interface LaneFiltersOptions {
  /** Of the lane, for logs. */
  readonly name: string
  /** On which it sends itself marks. */
  readonly ownTopic: string
  readonly subscriptions: readonly PlannedSubscription[]
  /** What the session may hold from before and is not wanted any more. */
  readonly retired: readonly PlannedSubscription[]
  readonly logger: Logger
  readonly clock: Clock
  /** Whether this is still the connection of the lane. */
  readonly isCurrent: (connection: Connection) => boolean
  readonly onRefused: (refusals: readonly Refusal[]) => void
  /** What was refused before is granted now. */
  readonly onGranted: () => void
}

const REFUSED_RETRY_MS = 30_000

/** What a lane is subscribed to. What the broker refuses is asked for again every 30 s. */
export class LaneFilters {
  readonly #options: LaneFiltersOptions
  readonly #identify: boolean
  #granted = false
  #cancelRetry = () => {}

  constructor(options: LaneFiltersOptions) {
    this.#options = options
    this.#identify = needIdentifiers(options.subscriptions)
  }

  /** The connection of now has every filter. */
  get granted(): boolean {
    return this.#granted
  }

  /** Asks for the own topic; resolves with the refusal, where it is refused. */
  async askForOwn(connection: Connection): Promise<Refusal | undefined> {
    const { name, ownTopic } = this.#options
    const own = { id: 0, filter: ownTopic, qos: 1, shared: false, lane: name, slots: 'solo', routes: [] } as const
    const [refusal] = await subscribeAll(connection, [own], false)
    return refusal
  }

  /** Asks for every filter; resolves with what was refused, which is then to be {@link judge}d. */
  ask(connection: Connection): Promise<readonly Refusal[]> {
    return subscribeAll(connection, this.#options.subscriptions, this.#identify)
  }

  dropRetired({ client }: Connection): void {
    const filters = this.#options.retired.map(({ filter }) => filter)
    if (filters.length > 0) client.unsubscribe(filters)
  }

  judge(refusals: readonly Refusal[], connection: Connection): void {
    this.#granted = refusals.length === 0
    if (this.#granted) return
    const { name, subscriptions, logger, clock, isCurrent, onRefused, onGranted } = this.#options
    onRefused(refusals)
    logger.error({ lane: name, refusals }, 'the broker refused subscriptions')
    this.#cancelRetry = clock.after(
      REFUSED_RETRY_MS,
      () => {
        if (!isCurrent(connection)) return
        const again = subscriptions.filter(({ filter }) => refusals.some((refusal) => refusal.filter === filter))
        subscribeAll(connection, again, this.#identify).then((still) => {
          if (!isCurrent(connection) || connection.isClosed) return
          this.judge(still, connection)
          if (still.length === 0) onGranted()
        })
      },
      { unref: true },
    )
  }

  /** The connection is gone, and with it what it had. */
  lost(): void {
    this.#granted = false
    this.#cancelRetry()
  }

  /** Asks for nothing any more. */
  stop(): void {
    this.#cancelRetry()
  }
}
