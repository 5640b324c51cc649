import { type Decimal, digitsAt, divideRounded, formatDecimal, parseDecimal } from './decimal.js'
import type { ResolvedPoint } from './resolve-point.js'

/** Scale and offset of a point as whole numbers over one power of ten. */
interface Factors {
  readonly places: number
  readonly scale: bigint
  readonly offset: bigint
  /** The same as numbers, where `raw * scale + offset` cannot lose a digit for raw values up to 32 bits. */
  readonly fast: { readonly scale: number; readonly offset: number; readonly power: number } | undefined
}

const known = new WeakMap<ResolvedPoint, Factors>()

function factorsOf(point: ResolvedPoint): Factors {
  const found = known.get(point)
  if (found !== undefined) return found
  const scale = parseDecimal(point.scale)!
  const offset = parseDecimal(point.offset)!
  const places = Math.max(scale.places, offset.places)
  const [scaleDigits, offsetDigits] = [digitsAt(scale, places), digitsAt(offset, places)]
  const largest = Math.abs(Number(scaleDigits)) * 2 ** 32 + Math.abs(Number(offsetDigits))
  const fast =
    places <= 22 && largest <= Number.MAX_SAFE_INTEGER
      ? { scale: Number(scaleDigits), offset: Number(offsetDigits), power: 10 ** places }
      : undefined
  const factors = { places, scale: scaleDigits, offset: offsetDigits, fast }
  known.set(point, factors)
  return factors
}

/**
 * raw * scale + offset, exact in decimal: a number, or a decimal text where a number would lose digits of an integer
 * beyond 2^53.
 */
export function scaleInteger(point: ResolvedPoint, raw: number | bigint): number | bigint | string {
  return point.unscaled ? raw : scaleBy(factorsOf(point), raw)
}

/** {@link scaleInteger} of one point, whose factors were looked up once. */
export function integerScaler(point: ResolvedPoint): (raw: number) => number | bigint | string {
  if (point.unscaled) return (raw) => raw
  const factors = factorsOf(point)
  return (raw) => scaleBy(factors, raw)
}

function scaleBy({ places, scale, offset, fast }: Factors, raw: number | bigint): number | bigint | string {
  // Both sides of the division are exact, so its one rounding gives the double nearest to the decimal result.
  // Adding 0 turns -0 into 0.
  if (fast !== undefined && typeof raw === 'number' && Math.abs(raw) <= 2 ** 32) {
    return (raw * fast.scale + fast.offset) / fast.power + 0
  }
  const exact = { digits: BigInt(raw) * scale + offset, places }
  const text = formatDecimal(exact)
  return digitCount(exact) <= 15 || typeof raw === 'number' ? Number(text) : text
}

/** (value - offset) / scale, rounded to the nearest integer, halves away from zero. */
export function unscaleToInteger(point: ResolvedPoint, value: Decimal): bigint {
  const factors = factorsOf(point)
  const places = Math.max(factors.places, value.places)
  const up = 10n ** BigInt(places - factors.places)
  return divideRounded(digitsAt(value, places) - factors.offset * up, factors.scale * up)
}

/** The multiple of `step`, counted from `min` (else 0), that is nearest to `value`. */
export function snapToStep(value: Decimal, step: number, min: number | null): Decimal {
  const [stepDecimal, base] = [parseDecimal(step)!, parseDecimal(min ?? 0)!]
  const places = Math.max(value.places, stepDecimal.places, base.places)
  const [stepDigits, baseDigits] = [digitsAt(stepDecimal, places), digitsAt(base, places)]
  const count = divideRounded(digitsAt(value, places) - baseDigits, stepDigits)
  return { digits: baseDigits + count * stepDigits, places }
}

/**
 * Floats have no grid to round to: rounding to the decimals of the scale would throw digits away (1.2345 * 1000). The
 * digits that the type does not really have are cut off instead, so that 230.1 * 0.1 is 23.01. A float32 has 7 to 9 of
 * them, as few as tell its value from the next; beside an offset, which takes some, more.
 */
export function scaleFloat(point: ResolvedPoint, raw: number): number {
  if (point.unscaled) return raw
  const value = raw * point.scale + point.offset
  if (point.type === 'float32' && Number.isFinite(value)) {
    for (let digits = 7; digits < 15; digits += 1) {
      const short = Number(value.toPrecision(digits))
      if (Math.fround(unscaleFloat(point, short)) === raw) return short + 0
    }
  }
  return Number(value.toPrecision(15)) + 0
}

export function unscaleFloat(point: ResolvedPoint, value: number): number {
  return point.unscaled ? value : (value - point.offset) / point.scale
}

function digitCount({ digits }: Decimal): number {
  return (digits < 0n ? -digits : digits).toString().length
}
