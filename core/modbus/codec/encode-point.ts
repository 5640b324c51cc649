import { RouteMQError } from '../../support/errors.js'
import { isWellFormed } from '../plain-text.js'
import { type Decimal, parseDecimal } from './decimal.js'
import { isWithinLimits, rawBounds } from './limits.js'
import { isNoFloat, isNoInteger } from './no-value.js'
import type { ResolvedPoint } from './resolve-point.js'
import { scaleInteger, snapToStep, unscaleFloat, unscaleToInteger } from './scaling.js'
import { wordsOf } from './words.js'

/**
 * What to write for a value: registers, coils, or a mask write (function 22: `(now & and) | (or & ~and)`) where the
 * point shares its register with others.
 */
export type EncodedPoint =
  | { readonly words: readonly number[] }
  | { readonly bits: readonly boolean[] }
  | { readonly mask: { readonly and: number; readonly or: number } }

const MEANINGFUL = 'a value whose raw form does not mean "no value"'

/**
 * The registers, coils or mask that carry `value`. A number is rounded to the nearest value the point can hold and
 * refused when that is more than half a step away.
 * @throws RouteMQError VALUE_INVALID for a value of the wrong kind, VALUE_OUT_OF_RANGE for one beyond the limits
 */
export function encodePoint(point: ResolvedPoint, value: unknown): EncodedPoint {
  switch (point.type) {
    case 'bool': {
      const on = singleBit(point, value)
      if (point.register_type === 'coil' || point.register_type === 'discrete') return { bits: [on] }
      return { words: registers(point, BigInt(on), 2) }
    }
    case 'bit': {
      const raw = point.width === 1 ? BigInt(singleBit(point, value)) : integer(point, value)
      return { mask: maskFor(point, Number(raw)) }
    }
    case 'string':
      return { words: encodeText(point, value) }
    case 'raw': {
      const digits = point.words * 4
      if (typeof value !== 'string' || value.length !== digits || !/^[0-9a-f]*$/i.test(value)) {
        throw invalid(point, value, `${digits} hexadecimal digits`)
      }
      return { words: wordsOf(Buffer.from(value, 'hex'), point.order) }
    }
    case 'float32':
    case 'float64':
      return { words: encodeFloat(point, value) }
    case 'bcd': {
      const text = integer(point, value)
        .toString()
        .padStart(point.words * 4, '0')
      return { words: wordsOf(Buffer.from(text, 'hex'), point.order) }
    }
    default:
      return { words: registers(point, integer(point, value), point.words * 2) }
  }
}

/** The raw integer for a value, inside every limit of the point. */
function integer(point: ResolvedPoint, value: unknown): bigint {
  const [lowest, highest] = rawBounds(point)
  if (point.enum !== null) {
    const raw = enumerated(point, value)
    if (raw < lowest || raw > highest) throw outOfRange(point, value)
    checkLimits(point, raw, value)
    if (isNoInteger(point, raw)) throw invalid(point, value, MEANINGFUL)
    return raw
  }
  const exact = numeric(point, value)
  // What was asked for is held to the limits, and so is what rounding makes of it.
  checkLimits(point, decimalToNumber(exact), value)
  const wanted = point.step === null ? exact : snapToStep(exact, point.step, point.min)
  const raw = unscaleToInteger(point, wanted)
  if (raw < lowest || raw > highest) throw outOfRange(point, value)
  const held = scaleInteger(point, raw)
  checkLimits(point, typeof held === 'string' ? Number(held) : held, value)
  if (isNoInteger(point, raw)) throw invalid(point, value, MEANINGFUL)
  return raw
}

function encodeFloat(point: ResolvedPoint, value: unknown): number[] {
  const exact = numeric(point, value)
  checkLimits(point, decimalToNumber(exact), value)
  const wanted = point.step === null ? Number(value) : decimalToNumber(snapToStep(exact, point.step, point.min))
  checkLimits(point, wanted, value)
  const raw = unscaleFloat(point, wanted)
  const bytes = Buffer.alloc(point.words * 2)
  if (point.type === 'float64') bytes.writeDoubleBE(raw)
  else bytes.writeFloatBE(raw)
  const held = point.type === 'float64' ? raw : Math.fround(raw)
  if (!Number.isFinite(held)) throw outOfRange(point, value)
  if (isNoFloat(point, held)) throw invalid(point, value, MEANINGFUL)
  return wordsOf(bytes, point.order)
}

function encodeText(point: ResolvedPoint, value: unknown): number[] {
  if (typeof value !== 'string' || value.includes('\0') || !isWellFormed(value)) {
    throw invalid(point, value, 'a text of whole characters without NUL')
  }
  const text = Buffer.from(value, 'utf8')
  if (text.length > point.words * 2) {
    throw new RouteMQError('VALUE_OUT_OF_RANGE', `${point.name} holds ${point.words * 2} bytes, got ${text.length}`, {
      details: { point: point.name, value, max_bytes: point.words * 2 },
    })
  }
  const bytes = Buffer.alloc(point.words * 2)
  text.copy(bytes)
  return wordsOf(bytes, point.order)
}

function singleBit(point: ResolvedPoint, value: unknown): boolean {
  const on = onOrOff(point, value)
  if (isNoInteger(point, Number(on))) throw invalid(point, value, MEANINGFUL)
  return on
}

function onOrOff(point: ResolvedPoint, value: unknown): boolean {
  if (point.enum !== null) {
    const raw = enumerated(point, value)
    if (raw === 0n || raw === 1n) return raw === 1n
    throw outOfRange(point, value)
  }
  if (typeof value === 'boolean') return value
  if (value === 0 || value === 1) return value === 1
  throw invalid(point, value, 'true or false')
}

function enumerated(point: ResolvedPoint, value: unknown): bigint {
  const names = point.enum!
  if (typeof value === 'string' && names.has(value)) return BigInt(names.get(value)!)
  for (const raw of names.values()) if (raw === value) return BigInt(raw)
  throw invalid(point, value, `one of ${[...names.keys()].join(', ')}`)
}

function numeric(point: ResolvedPoint, value: unknown): Decimal {
  const isWide = point.type === 'uint64' || point.type === 'int64' || (point.type === 'bcd' && point.words === 4)
  if (typeof value === 'bigint' || (isWide && typeof value === 'string')) {
    const exact = parseDecimal(value)
    if (exact !== undefined && exact.places <= 400) return exact
  } else if (typeof value === 'number' && Number.isFinite(value)) {
    // Beyond 2^53 a JSON number is no longer what its sender wrote.
    if (isWide && Number.isInteger(value) && !Number.isSafeInteger(value)) {
      throw invalid(point, value, 'an integer beyond 2^53 as decimal text')
    }
    return parseDecimal(value)!
  }
  throw invalid(point, value, isWide ? 'a number or decimal text' : 'a number')
}

function checkLimits(point: ResolvedPoint, held: number | bigint, value: unknown): void {
  if (!isWithinLimits(point, held)) throw outOfRange(point, value)
}

function registers(point: ResolvedPoint, raw: bigint, bytes: number): number[] {
  const buffer = Buffer.alloc(bytes)
  const unsigned = BigInt.asUintN(bytes * 8, raw)
  for (let at = 0; at < bytes; at += 1) buffer[bytes - 1 - at] = Number((unsigned >> BigInt(at * 8)) & 0xffn)
  return wordsOf(buffer, point.order)
}

function maskFor(point: ResolvedPoint, raw: number): { and: number; or: number } {
  const bits = fieldBits(point)
  return { and: ~bits & 0xffff, or: swapped(point, (raw << point.bit) & 0xffff) & bits }
}

/** The bits of a register that a point of type `bit` is made of, as they are on the wire. */
export function fieldBits(point: ResolvedPoint): number {
  return swapped(point, ((2 ** point.width - 1) << point.bit) & 0xffff)
}

/** The register as it is on the wire, where the point's order turns its bytes around. */
function swapped(point: ResolvedPoint, word: number): number {
  return point.order === 'BADC' || point.order === 'DCBA' ? ((word & 0xff) << 8) | (word >> 8) : word
}

function decimalToNumber({ digits, places }: Decimal): number {
  return Number(`${digits}e-${places}`)
}

function invalid(point: ResolvedPoint, value: unknown, want: string): RouteMQError {
  return new RouteMQError('VALUE_INVALID', `${point.name} takes ${want}, got ${show(value)}`, {
    details: { point: point.name, value: shown(value), want },
  })
}

function outOfRange(point: ResolvedPoint, value: unknown): RouteMQError {
  const [min, max] = bounds(point)
  return new RouteMQError('VALUE_OUT_OF_RANGE', `${point.name} takes ${range(min, max)}, got ${show(value)}`, {
    details: {
      point: point.name,
      value: shown(value),
      ...(min === null ? {} : { min: bound(min) }),
      ...(max === null ? {} : { max: bound(max) }),
    },
  })
}

type Bound = number | bigint | string | null

/** The limits of a point, else of its type: exact, also where a number would not hold them. */
function bounds(point: ResolvedPoint): readonly [Bound, Bound] {
  const { type, min, max } = point
  if (type === 'float32' || type === 'float64') return [min, max]
  const ends = rawBounds(point).map((raw) => scaleInteger(point, raw))
  const [low, high] = ends.sort((a, b) => Number(a) - Number(b)) as [Bound, Bound]
  return [min === null || Number(low) > min ? low : min, max === null || Number(high) < max ? high : max]
}

function bound(value: NonNullable<Bound>): number | string {
  const isExact = typeof value !== 'bigint' || Number.isSafeInteger(Number(value))
  return typeof value === 'string' || !isExact ? String(value) : Number(value)
}

function range(min: Bound, max: Bound): string {
  if (min !== null && max !== null) return `${min} to ${max}`
  if (min !== null) return `at least ${min}`
  return max !== null ? `at most ${max}` : 'what its type can hold'
}

function show(value: unknown): string {
  return typeof value === 'string' ? `"${value.slice(0, 100)}"` : String(value)
}

function shown(value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}
