import type { ResolvedPoint } from './resolve-point.js'

/** What the unsigned form of a negative raw value is more by: 32768 stands for -32768 of an int16. */
const MODULUS: Readonly<Record<string, bigint>> = { int16: 1n << 16n, int32: 1n << 32n, int64: 1n << 64n }

/** Whether a raw integer, or bits, mean "no value". Compared exactly: near 2^64 doubles lie 2,048 apart. */
export function isNoInteger({ type, invalid }: ResolvedPoint, raw: number | bigint): boolean {
  if (invalid.length === 0) return false
  const exact = BigInt(raw)
  const unsigned = exact < 0n ? exact + (MODULUS[type] ?? 0n) : exact
  return invalid.some((none) => {
    if (typeof none === 'number' && !Number.isInteger(none)) return false
    const given = BigInt(none)
    return given === exact || given === unsigned
  })
}

/** The same of a float. A float32 holds the nearest to what people write. */
export function isNoFloat({ type, invalid }: ResolvedPoint, raw: number): boolean {
  return invalid.some((none) => none === raw || (type === 'float32' && Math.fround(Number(none)) === raw))
}
