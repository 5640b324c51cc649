import { FilterSet } from '../router/filter-set.js'
import type { PlannedSubscription, Route } from '../router/route.js'
import { type FilterGroup, groupFilters, textHash } from '../router/sharing.js'
import type { InboundMessage } from './message.js'

export interface PlanOptions {
  /** Share group of shared routes: `$share/<groupName>/<filter>`. */
  readonly groupName: string
  /** Number of worker slots; 0: one process is slot 1 and solo both. */
  readonly slots: number
  /** Whether the broker marks messages with subscription identifiers (MQTT 5.0, 3.2.2.3.12). */
  readonly subscriptionIdentifiers: boolean
}

/** MQTT 5.0, 3.8.2.1.2: 1 to 268,435,455. */
const MAX_SUBSCRIPTION_ID = 268_435_455

/**
 * Turns routes into subscriptions so that each matching route runs exactly once a message. Equal or containing filters
 * of one sharing class are one subscription to the widest, at the highest QoS; filters that overlap in part are told
 * apart by subscription identifiers, or without them kept on separate lanes. The plan depends on the routes alone: every
 * process of an installation computes the same.
 */
export function planSubscriptions(routes: readonly Route[], options: PlanOptions): PlannedSubscription[] {
  const groups = groupFilters(routes)
  const lanes = options.subscriptionIdentifiers ? groups.map(({ lane }) => lane) : separateLanes(groups)
  const ids = new Ids()
  const deal = dealer(Math.max(1, options.slots))
  return groups.map((group, index) => {
    const filter = group.shared ? `$share/${options.groupName}/${group.filter}` : group.filter
    return Object.freeze({
      id: ids.of(`${lanes[index]} ${filter}`),
      filter,
      qos: group.qos,
      shared: group.shared,
      lane: lanes[index]!,
      slots: group.shared && !group.ordered ? deal(group.workers) : 'solo',
      routes: Object.freeze(group.routes.map((route) => route.id)),
    })
  })
}

/**
 * Tells which routes of a lane may run for one copy of a message. With identifiers each copy stands for the subscriptions it
 * names; without, the filters of a lane do not overlap, and the topic decides among all of them.
 *
 * Identifiers that the plan does not know are left from an earlier set of routes in a session that outlived it: then all
 * routes of the lane may run, because nothing else would ever run them for this message.
 */
export function routesByCopy(
  lane: readonly PlannedSubscription[],
): (copy: Pick<InboundMessage, 'subscriptionIds'>) => ReadonlySet<string> {
  const all: ReadonlySet<string> = new Set(lane.flatMap(({ routes }) => routes))
  const byId = new Map(lane.map(({ id, routes }) => [id, new Set(routes)]))
  return ({ subscriptionIds: ids }) => {
    if (ids === undefined || ids.length === 0) return all
    if (ids.length === 1) return byId.get(ids[0]!) ?? all
    const known = ids.flatMap((id) => [...(byId.get(id) ?? [])])
    return known.length === 0 ? all : new Set(known)
  }
}

/** First fit: a filter goes to the first lane of its class that holds nothing it overlaps. */
function separateLanes(groups: readonly FilterGroup[]): string[] {
  const classes = new Map<string, { readonly name: string; readonly filters: FilterSet }[]>()
  return groups.map(({ lane, filter }) => {
    const lanes = classes.get(lane) ?? []
    classes.set(lane, lanes)
    let place = lanes.find(({ filters }) => !filters.overlaps(filter))
    if (place === undefined) {
      // The name is part of a client id and its session; the filter keeps it where a count would shift.
      place = { name: lanes.length === 0 ? lane : `${lane}-${textHash(filter).toString(36)}`, filters: new FilterSet() }
      lanes.push(place)
    }
    place.filters.add(filter)
    return place.name
  })
}

/** Identifiers outlive the process in queued messages, so they come from the filter and not from a count. */
class Ids {
  readonly #taken = new Set<number>()

  of(text: string): number {
    let id = (textHash(text) % MAX_SUBSCRIPTION_ID) + 1
    while (this.#taken.has(id)) id = (id % MAX_SUBSCRIPTION_ID) + 1
    this.#taken.add(id)
    return id
  }
}

/** Places `workers` processes round-robin over the slots, going on where the last subscription ended. */
function dealer(slots: number): (workers: number) => readonly number[] {
  let next = 0
  return (workers) => {
    const taken = Array.from({ length: Math.min(workers, slots) }, (_, offset) => ((next + offset) % slots) + 1)
    next = (next + taken.length) % slots
    return Object.freeze(taken.sort((one, other) => one - other))
  }
}
