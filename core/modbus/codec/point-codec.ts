import { isUtf8 } from 'node:buffer'
import type { FieldValue, Quality } from '../field.js'
import { isWithinLimits } from './limits.js'
import { isNoFloat, isNoInteger } from './no-value.js'
import type { ResolvedPoint } from './resolve-point.js'
import { scaleFloat, scaleInteger } from './scaling.js'
import { bytesOf } from './words.js'

export { type EncodedPoint, encodePoint } from './encode-point.js'
export { type ResolvedPoint, resolvePoint } from './resolve-point.js'

/** Inside the product 64-bit integers are BigInt; {@link toJsonValue} makes them fit for JSON. */
export type PointValue = number | bigint | boolean | string | null

export interface DecodedPoint {
  readonly value: PointValue
  /** bad: no value. uncertain: a value outside `min` and `max`, or one the enumeration does not name. */
  readonly quality: Extract<Quality, 'good' | 'uncertain' | 'bad'>
  readonly reason?: 'not_a_number' | 'infinite' | 'invalid_value' | 'not_bcd' | 'out_of_range' | 'not_in_enum'
}

const good = (value: PointValue): DecodedPoint => ({ value, quality: 'good' })
const bad = (reason: NonNullable<DecodedPoint['reason']>): DecodedPoint => ({ value: null, quality: 'bad', reason })

/** The value of a point from its own registers (`point.words` of them) or from its one coil or discrete input. */
export function decodePoint(point: ResolvedPoint, data: readonly number[] | readonly boolean[]): DecodedPoint {
  if (data.length !== point.words) {
    throw new RangeError(`point ${point.name} takes ${point.words} registers, got ${data.length}`)
  }
  const words = data as readonly number[]
  switch (point.type) {
    case 'bool':
      return named(point, Number(data[0]) === 0 ? 0 : 1)
    case 'bit':
      return named(point, (orderedWord(point, words) >> point.bit) & (2 ** point.width - 1))
    case 'string':
      return good(decodeText(bytesOf(words, point.order)))
    case 'raw':
      return good(bytesOf(words, point.order).toString('hex'))
    case 'float32':
    case 'float64':
      return decodeFloat(point, bytesOf(words, point.order))
    case 'bcd': {
      const digits = bytesOf(words, point.order).toString('hex')
      return /^\d+$/.test(digits) ? decodeInteger(point, smallest(BigInt(digits))) : bad('not_bcd')
    }
    default:
      return decodeBinary(point, words)
  }
}

/** A 64-bit integer as a number where that is exact, else as decimal text; what JSON has no word for as null. */
export function toJsonValue(value: PointValue): FieldValue {
  if (typeof value === 'bigint') return isSafe(value) ? Number(value) : value.toString()
  return typeof value === 'number' && !Number.isFinite(value) ? null : value
}

function decodeBinary(point: ResolvedPoint, words: readonly number[]): DecodedPoint {
  switch (point.type) {
    case 'uint16':
      return decodeInteger(point, orderedWord(point, words))
    case 'int16':
      return decodeInteger(point, (orderedWord(point, words) << 16) >> 16)
    case 'uint32':
      return decodeInteger(point, bytesOf(words, point.order).readUInt32BE())
    case 'int32':
      return decodeInteger(point, bytesOf(words, point.order).readInt32BE())
    case 'uint64':
      return decodeInteger(point, bytesOf(words, point.order).readBigUInt64BE())
    default:
      return decodeInteger(point, bytesOf(words, point.order).readBigInt64BE())
  }
}

function decodeInteger(point: ResolvedPoint, raw: number | bigint): DecodedPoint {
  if (isNoInteger(point, raw)) return bad('invalid_value')
  return point.enum === null ? limited(point, scaleInteger(point, raw)) : named(point, raw)
}

function decodeFloat(point: ResolvedPoint, bytes: Buffer): DecodedPoint {
  const raw = point.type === 'float32' ? bytes.readFloatBE() : bytes.readDoubleBE()
  if (Number.isNaN(raw)) return bad('not_a_number')
  if (!Number.isFinite(raw)) return bad('infinite')
  if (isNoFloat(point, raw)) return bad('invalid_value')
  const value = scaleFloat(point, raw)
  return Number.isFinite(value) ? limited(point, value) : bad('infinite')
}

/** Bits: an enumeration names them, a single bit is true or false, a wider field is a number. */
function named(point: ResolvedPoint, raw: number | bigint): DecodedPoint {
  if (isNoInteger(point, raw)) return bad('invalid_value')
  if (point.enum !== null) {
    for (const [name, value] of point.enum) {
      if (BigInt(value) !== BigInt(raw)) continue
      return isWithinLimits(point, raw) ? good(name) : { value: name, quality: 'uncertain', reason: 'out_of_range' }
    }
    return { value: raw, quality: 'uncertain', reason: 'not_in_enum' }
  }
  const isSingle = point.type === 'bool' || (point.type === 'bit' && point.width === 1)
  return isSingle ? good(raw === 1) : limited(point, scaleInteger(point, raw))
}

function limited(point: ResolvedPoint, value: number | bigint | string): DecodedPoint {
  if (point.min === null && point.max === null) return good(value)
  const isInside = isWithinLimits(point, typeof value === 'string' ? Number(value) : value)
  return isInside ? good(value) : { value, quality: 'uncertain', reason: 'out_of_range' }
}

/** One register has bytes to turn around, but no words. */
function orderedWord(point: ResolvedPoint, words: readonly number[]): number {
  return bytesOf(words, point.order).readUInt16BE()
}

/** Up to the first NUL, without trailing blanks: devices fill up with either. UTF-8, else Latin-1. */
function decodeText(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  const text = end === -1 ? bytes : bytes.subarray(0, end)
  return text.toString(isUtf8(text) ? 'utf8' : 'latin1').replace(/ +$/, '')
}

function smallest(value: bigint): number | bigint {
  return isSafe(value) ? Number(value) : value
}

function isSafe(value: bigint): boolean {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
}
