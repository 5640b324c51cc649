/** A range that must come from one request. Addresses are PDU addresses. */
export interface Wanted {
  readonly address: number
  readonly count: number
}

export interface AddressRange {
  readonly from: number
  readonly to: number
}

export interface PlanOptions {
  /** Addresses one request may carry. */
  readonly max: number
  /** Addresses a request may carry that joins what one alone would not reach. @default as many as one may carry */
  readonly maxJoined?: number | undefined
  /** Cost of a request, whatever it carries, milliseconds. */
  readonly requestMs: number
  /** Cost of each address it carries, milliseconds. */
  readonly addressMs: number
  /** Unwanted addresses that may be read between two wanted ones. @default no bound but cost */
  readonly maxGap?: number | undefined
  /** Never read unless wanted. */
  readonly forbidden?: readonly AddressRange[] | undefined
  /** Pairs of addresses that no request brings both of unless one wanted range does. */
  readonly apart?: readonly AddressRange[] | undefined
}

/** One request of a plan and the wanted ranges it brings, by index. */
export interface PlannedRead extends Wanted {
  readonly wanted: readonly number[]
}

interface Indexed extends Wanted {
  readonly index: number
}

/**
 * The cheapest requests that bring every wanted range whole. Ordered by address a best plan takes neighbours together,
 * because a range that reaches past its successors covers them for nothing; so one pass over "where does the last
 * request begin" finds it. Of equally cheap plans the one with fewer requests is taken.
 *
 * A range longer than `max` cannot be had whole: it must not be given.
 */
export function planReads(wanted: readonly Wanted[], options: PlanOptions): PlannedRead[] {
  const sorted = wanted
    .map((range, index): Indexed => ({ ...range, index }))
    .sort((a, b) => a.address - b.address || b.count - a.count)
  // best[i]: cost of the first i ranges; the last of its requests begins at range from[i].
  const best = [0, ...sorted.map(() => Number.POSITIVE_INFINITY)]
  const requests = [0, ...sorted.map(() => 0)]
  const from = [0, ...sorted.map(() => 0)]
  for (let first = 0; first < sorted.length; first += 1) {
    let end = sorted[first]!.address
    const start = end
    for (let last = first; last < sorted.length; last += 1) {
      const next = sorted[last]!
      // A later range begins further off still.
      if (last > first && !mayJoin(end, next, options)) break
      const isLonger = next.address + next.count > end
      end = Math.max(end, next.address + next.count)
      if (isLonger && options.apart?.length && bringsBoth(start, end, sorted.slice(first, last + 1), options)) break
      if (last > first && isLonger && end - start > (options.maxJoined ?? options.max)) break
      if (end - start > options.max) {
        if (last === first)
          throw new RangeError(`${next.count} addresses from ${next.address} do not fit into one request`)
        break
      }
      const cost = best[first]! + options.requestMs + (end - start) * options.addressMs
      const count = requests[first]! + 1
      if (cost < best[last + 1]! || (cost === best[last + 1]! && count < requests[last + 1]!)) {
        best[last + 1] = cost
        requests[last + 1] = count
        from[last + 1] = first
      }
    }
  }
  const plan: PlannedRead[] = []
  for (let i = sorted.length; i > 0; i = from[i]!) {
    const part = sorted.slice(from[i]!, i)
    const address = part[0]!.address
    const end = Math.max(...part.map((range) => range.address + range.count))
    plan.unshift({ address, count: end - address, wanted: part.map((range) => range.index) })
  }
  return plan
}

/** What a plan costs, milliseconds. */
export function planCost(plan: readonly Wanted[], options: Pick<PlanOptions, 'requestMs' | 'addressMs'>): number {
  return plan.reduce((sum, { count }) => sum + options.requestMs + count * options.addressMs, 0)
}

/** Whether a request that ends at `end` may go on to `next`: nothing forbidden in the gap. */
function mayJoin(end: number, next: Wanted, options: PlanOptions): boolean {
  const gap = next.address - end
  if (gap <= 0) return true
  if (gap > (options.maxGap ?? Number.POSITIVE_INFINITY)) return false
  return options.forbidden?.some((range) => range.from < next.address && range.to >= end) !== true
}

/** Whether a request over `start` to `end` brings two addresses that must be apart, and none of its ranges both of them. */
function bringsBoth(start: number, end: number, ranges: readonly Wanted[], { apart = [] }: PlanOptions): boolean {
  return apart.some(
    ({ from, to }) =>
      start <= from && to < end && !ranges.some(({ address, count }) => address <= from && to < address + count),
  )
}
