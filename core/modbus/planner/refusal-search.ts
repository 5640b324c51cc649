import type { AddressRange, Wanted } from './plan-reads.js'

/** Why a device refuses a request over several ranges. */
export interface Culprit extends AddressRange {
  /**
   * `alone`: a wanted range that is refused by itself, so it must not be asked for with others. `apart`: two addresses that
   * no request may bring both of; what lies between them may not be there.
   */
  readonly kind: 'alone' | 'apart'
}

/** Equal refusals it takes to believe one. */
export const REFUSALS = 3

/** Asks for ranges one after the other, is told the exception that refused each, undefined where it was answered. */
export type RefusalSearch = Generator<Wanted, readonly Culprit[], number | undefined>

/** By address, equal ones once; of those that begin together the longer first. */
export function sortedRanges(wanted: readonly Wanted[]): Wanted[] {
  const distinct = new Map(wanted.map(({ address, count }) => [keyOf({ address, count }), { address, count }]))
  return [...distinct.values()].sort((a, b) => a.address - b.address || b.count - a.count)
}

/**
 * Finds out why a request over some ranges is refused, by halves: one bad range of forty takes about fifteen questions.
 * Each range stays whole, nothing is asked for that the request itself did not cover, and every culprit was refused three
 * times with one exception by itself; where that is not so it is none.
 */
export function* searchRefusal(wanted: readonly Wanted[], exception: number): RefusalSearch {
  const all = sortedRanges(wanted)
  const found: Culprit[] = []
  const outcomes = new Map<string, number | undefined>([[keyOf(spanOf(all)), exception]])

  function* refusalOf(run: readonly Wanted[]): Generator<Wanted, number | undefined, number | undefined> {
    const span = spanOf(run)
    if (!outcomes.has(keyOf(span))) outcomes.set(keyOf(span), yield span)
    return outcomes.get(keyOf(span))
  }

  function* blame(run: readonly Wanted[], refusal: number): Generator<Wanted, void, number | undefined> {
    const [left, right] = [run.slice(0, run.length / 2), run.slice(run.length / 2)]
    let isOfOne = false
    if (left.length > 0) {
      for (const half of [left, right]) {
        const own = yield* refusalOf(half)
        if (own === undefined) continue
        isOfOne = true
        yield* blame(half, own)
      }
    }
    if (isOfOne) return
    for (let again = 1; again < REFUSALS; again += 1) if ((yield spanOf(run)) !== refusal) return
    found.push(left.length === 0 ? alone(run[0]!) : apart(spanOf(left), spanOf(right)))
  }

  yield* blame(all, exception)
  // What was found may have hidden more: the rest is asked for as it will be read from now on.
  for (let known = 0; known < found.length; ) {
    known = found.length
    for (const run of runsOf(all, found)) {
      const refusal = yield* refusalOf(run)
      if (refusal !== undefined) yield* blame(run, refusal)
    }
  }
  return found
}

/** Ranges as they may be asked for together when these culprits are known; those refused by themselves left out. */
function runsOf(ranges: readonly Wanted[], culprits: readonly Culprit[]): Wanted[][] {
  const runs: Wanted[][] = []
  let end = 0
  for (const range of ranges) {
    if (culprits.some(({ kind, from, to }) => kind === 'alone' && from === range.address && to === lastOf(range)))
      continue
    const run = runs.at(-1)
    const joins = run !== undefined && !culprits.some((one) => parts(one, run[0]!.address, end, range))
    if (joins) run.push(range)
    else runs.push([range])
    end = Math.max(joins ? end : 0, range.address + range.count)
  }
  return runs
}

/** Whether a request over `start` to `end` may not go on to `next`. */
function parts({ kind, from, to }: Culprit, start: number, end: number, next: Wanted): boolean {
  if (kind === 'apart') return start <= from && to <= lastOf(next)
  return end < next.address && from < next.address && end <= to
}

function alone(range: Wanted): Culprit {
  return { kind: 'alone', from: range.address, to: lastOf(range) }
}

/** The last address that only the left needs, and the first that only the right does. */
function apart(left: Wanted, right: Wanted): Culprit {
  const end = left.address + left.count
  return { kind: 'apart', from: Math.min(end, right.address) - 1, to: Math.max(end, right.address) }
}

function spanOf(run: readonly Wanted[]): Wanted {
  const { address } = run[0]!
  return { address, count: Math.max(...run.map(lastOf)) + 1 - address }
}

function lastOf({ address, count }: Wanted): number {
  return address + count - 1
}

function keyOf({ address, count }: Wanted): string {
  return `${address}+${count}`
}
