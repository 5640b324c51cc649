/** A time span as people write it: milliseconds as a number, or `500ms`, `30s`, `5m`, `24h`, `30d`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds, or undefined where the text is no duration. */
export function parseDuration(value: Duration | string): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) && value >= 0 ? value : undefined
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value)
  return found === null ? undefined : Number(found[1]) * UNIT_MS[found[2]!]!
}
