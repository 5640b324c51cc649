/** How values stand in the tables, the same on all three databases. Times are microseconds since the epoch, UTC. */

/** A 64-bit integer from its decimal text: a number where that is exact, else a bigint. */
export function exactInteger(text: string): number | bigint {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : BigInt(text)
}

/** Unix seconds with a fraction -> microseconds. */
export const secondsToMicros = (seconds: number): number => Math.round(seconds * 1e6)

/** Milliseconds -> microseconds. */
export const millisToMicros = (millis: number): number => Math.round(millis * 1e3)

/**
 * ISO 8601 UTC with six digits: `2026-03-29T01:00:00.000001Z`. Columns give a bigint from the year 2255 on.
 *
 * @throws RangeError beyond the year 275760
 */
export function microsToIso(micros: number | bigint): string {
  if (typeof micros === 'bigint') return isoOf(Number(micros / 1_000n), Number(micros % 1_000n))
  const millis = Math.floor(micros / 1e3)
  return isoOf(millis, micros - millis * 1e3)
}

function isoOf(millis: number, rest: number): string {
  return `${new Date(millis).toISOString().slice(0, -1)}${String(rest).padStart(3, '0')}Z`
}

/** The reverse of {@link microsToIso}, for any ISO 8601 time with an offset; undefined where the text is none. */
export function isoToMicros(text: string): number | undefined {
  const found = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?\s*(Z|[+-]\d\d:?\d\d)$/.exec(text)
  if (found === null) return undefined
  const whole = Date.parse(`${found[1]!.replace(' ', 'T')}${found[3]}`)
  if (Number.isNaN(whole)) return undefined
  return whole * 1e3 + Number((found[2] ?? '').padEnd(6, '0').slice(0, 6))
}

/** A JSON column: null where it was never set, or is not JSON (edited by hand). */
export function parseJson<T>(text: string | null | undefined, fallback: T): T {
  if (text === null || text === undefined || text === '') return fallback
  try {
    return JSON.parse(text) as T
  } catch {
    return fallback
  }
}
