import type { Route } from '../router/route.js'

const OUTCOMES = [
  'handled',
  'failed',
  'retried',
  'dead_lettered',
  'parked',
  'park_refused',
  'expired',
  'duplicate',
  'unrouted',
  'skipped',
  'replied',
  'reply_refused',
  'reply_failed',
] as const
export type DeliveryCount = (typeof OUTCOMES)[number]

export interface RouteStats {
  readonly handled: number
  readonly failed: number
}

export type DeliveryStatsReport = Readonly<Record<DeliveryCount, number>> & {
  /** Messages held on a lane or running from the store. */
  readonly in_flight: number
  /** Parked messages that are not finished. */
  readonly parked_now: number
  /** What they have in memory beside their place. */
  readonly parked_bytes: number
  /** By route id; as many entries as there are routes that ran. */
  readonly routes: Readonly<Record<string, RouteStats>>
}

/** Counters since the start of the process. */
export class DeliveryStats {
  readonly #counts: Record<DeliveryCount, number>
  readonly #routes = new Map<string, { handled: number; failed: number }>()

  constructor() {
    this.#counts = Object.fromEntries(OUTCOMES.map((name) => [name, 0])) as Record<DeliveryCount, number>
  }

  count(name: DeliveryCount): void {
    this.#counts[name] += 1
  }

  /** Counts the end of a (message, route). */
  ended(route: Route, outcome: 'handled' | 'failed'): void {
    this.#counts[outcome] += 1
    let own = this.#routes.get(route.id)
    if (own === undefined) {
      own = { handled: 0, failed: 0 }
      this.#routes.set(route.id, own)
    }
    own[outcome] += 1
  }

  report(now: Pick<DeliveryStatsReport, 'in_flight' | 'parked_now' | 'parked_bytes'>): DeliveryStatsReport {
    const routes = Object.fromEntries([...this.#routes].map(([id, counts]) => [id, { ...counts }]))
    return { ...this.#counts, ...now, routes }
  }
}
