import { RouteMQError } from '../../support/errors.js'
import { type EncodedPoint, encodePoint, type ResolvedPoint, resolvePoint } from '../codec/point-codec.js'
import type { PointDefinition } from '../point.js'
import type { MovingValue, UnitSpec } from './unit-spec.js'

/** How long a value takes for a round; each a little longer than the one before, so that they drift apart. */
const PERIOD_MS = 60_000
const APART_MS = 7_000

type Tables = {
  readonly [T in 'holding' | 'input' | 'coil' | 'discrete']: Record<number, number>
}

/**
 * A unit that has these points: numbers that can only be read swing between their limits (0 and 100 where they have none),
 * what can be written holds still in the middle until it is, enumerations begin with their first name.
 */
export function unitOfPoints(definitions: readonly PointDefinition[]): UnitSpec {
  const tables: Tables = { holding: {}, input: {}, coil: {}, discrete: {} }
  const moving: Record<'holding' | 'input', Record<number, MovingValue>> = { holding: {}, input: {} }
  definitions.forEach((definition, index) => {
    const point = resolvePoint(definition)
    const { register_type: type, address } = point
    const movement = swing(point, index)
    if (movement !== undefined && (type === 'holding' || type === 'input')) moving[type][address] = movement
    else fill(tables[type], point)
  })
  return { holding: tables.holding, input: tables.input, coils: tables.coil, discrete: tables.discrete, moving }
}

function limitsOf({ min, max }: ResolvedPoint): readonly [low: number, high: number] {
  if (min !== null) return [min, max ?? Math.max(min + 100, 100)]
  return max === null ? [0, 100] : [Math.min(0, max - 100), max]
}

function swing(point: ResolvedPoint, index: number): MovingValue | undefined {
  const isNumber = !['bool', 'bit', 'string', 'raw'].includes(point.type)
  if (!isNumber || point.access !== 'r' || point.enum !== null) return undefined
  const { type, order, scale, offset, words } = point
  const [low, high] = limitsOf(point)
  const movement = {
    kind: 'sine' as const,
    centre: (low + high) / 2,
    amplitude: (high - low) / 2,
    periodMs: PERIOD_MS + index * APART_MS,
    as: { type, order, scale, offset, ...(type === 'bcd' && { length: words }) },
  }
  // A type that cannot hold what its limits say stands still instead.
  return fits(point, low) && fits(point, high) ? movement : undefined
}

function fits(point: ResolvedPoint, value: number): boolean {
  return encoded({ ...point, min: null, max: null, step: null, invalid: [] }, value) !== undefined
}

/** What a value comes to, or undefined where the point does not take it. */
function encoded(point: ResolvedPoint, value: unknown): EncodedPoint | undefined {
  try {
    return encodePoint(point, value)
  } catch (error) {
    if (error instanceof RouteMQError) return undefined
    throw error
  }
}

/** Puts a value that the point takes into its registers; where no value is known to fit they stay 0. */
function fill(table: Record<number, number>, point: ResolvedPoint): void {
  const { address } = point
  const [low, high] = limitsOf(point)
  const first = point.enum?.keys().next().value
  const text = point.name.slice(0, point.words * 2)
  const wanted = first !== undefined ? [first] : point.type === 'string' ? [text] : [(low + high) / 2, low, 0]
  const value = wanted.map((one) => encoded(point, one)).find((one) => one !== undefined)
  if (value === undefined) return
  if ('bits' in value) table[address] = Number(value.bits[0])
  else if ('mask' in value) table[address] = ((table[address] ?? 0) & value.mask.and) | value.mask.or
  else for (const [at, word] of value.words.entries()) table[address + at] = word
}
