import type { ResolvedPoint } from './resolve-point.js'
import { scaleFloat, scaleInteger } from './scaling.js'

type Registers = readonly (number | boolean)[]

/** The value of a point from the registers of a block, `at` its first; undefined where the codec must look closer. */
export type QuickReader = (values: Registers, at: number) => number | boolean | string | undefined

const scratch = new DataView(new ArrayBuffer(8))
/** High words of 64-bit integers that a number holds exactly lie below this. */
const SAFE_HIGH = 2 ** 21
const readers = new WeakMap<ResolvedPoint, QuickReader>()
const closer: QuickReader = () => undefined

/**
 * The value of a point where it is plainly good, the same that `decodePoint` finds: no bytes are copied and nothing is
 * made. Whatever is invalid, out of range, unnamed, a text or too large for a number is undefined here: the codec tells.
 */
export function quickRead(point: ResolvedPoint, values: Registers, at: number): ReturnType<QuickReader> {
  let reader = readers.get(point)
  if (reader === undefined) {
    reader = readerOf(point)
    readers.set(point, reader)
  }
  return at >= 0 && at + point.words <= values.length ? reader(values, at) : undefined
}

function readerOf(point: ResolvedPoint): QuickReader {
  const raw = rawReader(point)
  if (raw === undefined || point.invalid.length > 0) return closer
  if (point.enum !== null) {
    const names = new Map([...point.enum].map(([name, value]) => [value, name]))
    return (values, at) => names.get(raw(values, at))
  }
  if (point.type === 'bool' || (point.type === 'bit' && point.width === 1)) return (values, at) => raw(values, at) === 1
  const { unscaled } = point
  // Scaled, these may become decimal texts.
  if (!unscaled && (point.type === 'uint64' || point.type === 'int64')) return closer
  const min = point.min ?? Number.NEGATIVE_INFINITY
  const max = point.max ?? Number.POSITIVE_INFINITY
  const scale = point.type === 'float32' || point.type === 'float64' ? scaleFloat : scaleInteger
  return (values, at) => {
    const found = raw(values, at)
    // NaN, which also stands for integers beyond the safe ones, is not finite either.
    if (!Number.isFinite(found)) return undefined
    const value = unscaled ? found : scale(point, found)
    return typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max ? value : undefined
  }
}

/** The number in the registers; NaN where a number cannot hold it. */
function rawReader(point: ResolvedPoint): ((values: Registers, at: number) => number) | undefined {
  const { type, order, words, bit, width } = point
  const bytesTurned = order === 'BADC' || order === 'DCBA'
  const wordsTurned = order === 'CDAB' || order === 'DCBA'
  const wordAt = (values: Registers, at: number) => {
    const word = values[at] as number
    return bytesTurned ? ((word & 0xff) << 8) | (word >> 8) : word
  }
  /** The nth word, most significant first. */
  const word = (values: Registers, at: number, n: number) => wordAt(values, wordsTurned ? at + words - 1 - n : at + n)
  const uint32 = (values: Registers, at: number, n: number) =>
    ((word(values, at, n) << 16) | word(values, at, n + 1)) >>> 0
  switch (type) {
    case 'bool':
      return (values, at) => (Number(values[at]) === 0 ? 0 : 1)
    case 'bit': {
      const mask = 2 ** width - 1
      return (values, at) => (wordAt(values, at) >> bit) & mask
    }
    case 'uint16':
      return wordAt
    case 'int16':
      return (values, at) => (wordAt(values, at) << 16) >> 16
    case 'uint32':
      return (values, at) => uint32(values, at, 0)
    case 'int32':
      return (values, at) => uint32(values, at, 0) | 0
    case 'uint64':
      return (values, at) => whole(uint32(values, at, 0), uint32(values, at, 2))
    case 'int64':
      return (values, at) => whole(uint32(values, at, 0) | 0, uint32(values, at, 2))
    case 'float32':
      return (values, at) => {
        scratch.setUint32(0, uint32(values, at, 0))
        return scratch.getFloat32(0)
      }
    case 'float64':
      return (values, at) => {
        scratch.setUint32(0, uint32(values, at, 0))
        scratch.setUint32(4, uint32(values, at, 2))
        return scratch.getFloat64(0)
      }
    default:
      return undefined
  }
}

function whole(high: number, low: number): number {
  return high < SAFE_HIGH && high > -SAFE_HIGH ? high * 2 ** 32 + low : Number.NaN
}
