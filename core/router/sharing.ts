import { canonicalFilter, FilterSet } from './filter-set.js'
import type { RouteProblem } from './problems.js'
import type { Route } from './route.js'

/** Routes that one subscription serves: equal or narrower filters of one sharing class. */
export interface FilterGroup {
  /** The widest filter of the group, without a share prefix. */
  readonly filter: string
  readonly shared: boolean
  readonly ordered: boolean
  readonly lane: string
  /** The highest of its routes. */
  readonly qos: 0 | 1
  readonly workers: number
  readonly routes: readonly Route[]
}

/**
 * Merges routes into as few subscriptions as deliver each message once. Only routes of one lane and one way of sharing
 * are merged; an ordered route stays alone, because its lane is its order.
 */
export function groupFilters(routes: readonly Route[]): FilterGroup[] {
  const classes = new Map<string, Route[]>()
  for (const route of routes) {
    const key = laneOf(route)
    const members = classes.get(key)
    if (members === undefined) classes.set(key, [route])
    else members.push(route)
  }
  return [...classes].flatMap(([lane, members]) => mergeClass(lane, members))
}

/** Routes that would have to share a subscription and cannot: both files are named. */
export function sharingProblems(routes: readonly Route[]): RouteProblem[] {
  const problems: RouteProblem[] = []
  const bySharedFilter = new Map<string, FilterGroup>()
  for (const group of groupFilters(routes)) {
    if (!group.shared) continue
    const first = group.routes[0]!
    const other = group.routes.find((route) => route.workers !== first.workers)
    if (other !== undefined) {
      problems.push(
        clash(
          first,
          other,
          `share one subscription (${group.filter}) and ask for ${first.workers} and ${other.workers} workers`,
        ),
      )
    }
    // A share group hands each message to one member, so two lanes on one shared filter would each miss messages.
    const elsewhere = bySharedFilter.get(group.filter)
    if (elsewhere === undefined) bySharedFilter.set(group.filter, group)
    else {
      const reason = `share the filter ${group.filter} but not the lane; give them one lane and no different orderBy`
      problems.push(clash(elsewhere.routes[0]!, first, reason))
    }
  }
  return problems
}

/** The lane a route's subscription is on. Shared and plain ones are told apart by name. */
function laneOf(route: Route): string {
  if (route.orderBy !== undefined) return orderedLane(route.id)
  if (!route.shared) return route.lane
  return route.lane === 'default' ? 'shared' : `shared-${route.lane}`
}

/** Part of a client id, so it must not change while the route keeps its name. */
function orderedLane(id: string): string {
  const readable = id
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 24)
  return `ordered-${readable}-${textHash(id).toString(36)}`
}

/** FNV-1a, 32 bits: small, stable across versions of Node.js. */
export function textHash(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return hash >>> 0
}

function mergeClass(lane: string, members: readonly Route[]): FilterGroup[] {
  const byFilter = new Map<string, Route[]>()
  const filters = new FilterSet()
  for (const route of members) {
    const filter = canonicalFilter(route.filter)
    const same = byFilter.get(filter)
    if (same !== undefined) {
      same.push(route)
      continue
    }
    byFilter.set(filter, [route])
    filters.add(filter)
  }
  const served = new Map<string, Route[]>()
  const narrower: [string, readonly string[]][] = []
  for (const filter of byFilter.keys()) {
    const wider = filters.containing(filter)
    if (wider.length === 0) served.set(filter, [...byFilter.get(filter)!])
    else narrower.push([filter, wider])
  }
  for (const [filter, wider] of narrower) {
    // One of the wider filters is contained in no other, so this finds one; several would do, the first is taken.
    const widest = wider.find((candidate) => served.has(candidate))!
    served.get(widest)!.push(...byFilter.get(filter)!)
  }
  return [...served].map(([filter, routes]) => groupOf(lane, filter, routes))
}

function groupOf(lane: string, filter: string, routes: readonly Route[]): FilterGroup {
  const first = routes[0]!
  return {
    filter,
    lane,
    routes,
    shared: first.shared,
    ordered: first.orderBy !== undefined,
    qos: routes.some((route) => route.qos === 1) ? 1 : 0,
    workers: first.workers,
  }
}

function clash(one: Route, other: Route, reason: string): RouteProblem {
  return {
    code: 'ROUTE_CLASH',
    files: [...new Set([one.file, other.file])],
    route: `${one.id} and ${other.id}`,
    message: `they ${reason}`,
  }
}
