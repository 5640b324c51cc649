import type { ResolvedPoint } from './resolve-point.js'

/** Lowest and highest raw value of the integer types. */
const BOUNDS: Readonly<Record<string, readonly [bigint, bigint]>> = {
  uint16: [0n, 0xffffn],
  int16: [-0x8000n, 0x7fffn],
  uint32: [0n, 0xffffffffn],
  int32: [-0x80000000n, 0x7fffffffn],
  uint64: [0n, 0xffffffffffffffffn],
  int64: [-0x8000000000000000n, 0x7fffffffffffffffn],
}

/** Lowest and highest raw value of a point that is an integer, or bits. */
export function rawBounds({ type, width, words }: Pick<ResolvedPoint, 'type' | 'width' | 'words'>) {
  if (type === 'bool') return [0n, 1n] as const
  if (type === 'bit') return [0n, (1n << BigInt(width)) - 1n] as const
  if (type === 'bcd') return [0n, 10n ** BigInt(words * 4) - 1n] as const
  return BOUNDS[type]!
}

/**
 * Whether a value is within `min` and `max`. A float32 holds the nearest to what people write: 0.1 is 0.10000000149 in it, and
 * within a max of 0.1.
 */
export function isWithinLimits({ type, unscaled, min, max }: ResolvedPoint, value: number | bigint): boolean {
  if (type === 'float32' && unscaled) {
    const held = Math.fround(Number(value))
    return (min === null || held >= Math.fround(min)) && (max === null || held <= Math.fround(max))
  }
  return (min === null || value >= min) && (max === null || value <= max)
}
