import { type PlanOptions, planSubscriptions } from '../mqtt/subscription-planner.js'
import type { Route } from '../router/route.js'

/** A route as people see it: what it says, and where the plan puts it. */
export type RouteView = {
  readonly name: string | null
  readonly topic: string
  /** Its own filter, and the subscription that serves it: wider where routes share one. */
  readonly filter: string
  readonly subscription: string
  readonly qos: 0 | 1 | 2
  readonly shared: boolean
  readonly workers: number
  /** `solo`, or the slots that take it. */
  readonly slots: 'solo' | readonly number[]
  readonly lane: string
  readonly concurrency: number
  readonly max_age_ms: number | null
  readonly order_by: string | null
  readonly retained: boolean
  readonly middleware: readonly string[]
  readonly handler: string
  readonly file: string
}

/** Routes with their places in the plan, for `route:list` and the sidecar. */
export function routeViews(routes: readonly Route[], options: PlanOptions): RouteView[] {
  const places = new Map(
    planSubscriptions(routes, options).flatMap((subscription) =>
      subscription.routes.map((id) => [id, subscription] as const),
    ),
  )
  return routes.map((route) => {
    const place = places.get(route.id)!
    return {
      name: route.name ?? null,
      topic: route.pattern,
      filter: route.filter,
      subscription: place.filter,
      qos: route.idempotent ? 2 : route.qos,
      shared: route.shared,
      workers: route.workers,
      slots: place.slots,
      lane: place.lane,
      concurrency: route.concurrency,
      max_age_ms: route.maxAgeMs ?? null,
      order_by: route.orderBy ?? null,
      retained: route.retained,
      middleware: route.middleware,
      handler: route.handlerName,
      file: route.file,
    }
  })
}
