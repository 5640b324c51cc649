import { RouteMQError } from '../../support/errors.js'

const DAY_MS = 86_400_000

/**
 * Starts of the calendar days of `tz` that touch `from`..`to` (microseconds), and the end of the last one; the first
 * and last are cut to the range. A day with a change to or from daylight saving has 23 or 25 hours.
 */
export function dayBoundaries(from: number, to: number, tz: string): number[] {
  if (to <= from) return []
  const zone = zoneOf(tz)
  const bounds = [from]
  let { year, month, day } = zone(Math.floor(from / 1e3))
  for (;;) {
    const next = new Date(Date.UTC(year, month - 1, day + 1))
    year = next.getUTCFullYear()
    month = next.getUTCMonth() + 1
    day = next.getUTCDate()
    const start = startOfDay(zone, year, month, day) * 1e3
    if (start >= to) break
    if (start > bounds.at(-1)!) bounds.push(start)
    if (bounds.length > 100_000) break
  }
  bounds.push(to)
  return bounds
}

interface Local {
  readonly year: number
  readonly month: number
  readonly day: number
  /** The local wall clock, read as if it were UTC, milliseconds. */
  readonly wall: number
}

type Zone = (millis: number) => Local

function zoneOf(tz: string): Zone {
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: tz,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (error) {
    throw new RouteMQError('REQUEST_INVALID', `tz must be an IANA time zone, not "${tz}"`, {
      details: { field: 'tz' },
      cause: error,
    })
  }
  return (millis) => {
    const parts: Record<string, number> = {}
    for (const { type, value } of format.formatToParts(millis)) parts[type] = Number(value)
    const { year, month, day, hour, minute, second } = parts as Record<
      'year' | 'month' | 'day' | 'hour' | 'minute' | 'second',
      number
    >
    return { year, month, day, wall: Date.UTC(year, month - 1, day, hour, minute, second) }
  }
}

/** The first instant of a local day: midnight, or later where a change of the clock skips midnight. */
function startOfDay(zone: Zone, year: number, month: number, day: number): number {
  const midnight = Date.UTC(year, month - 1, day)
  const before = (millis: number) => zone(millis).wall < midnight
  // No zone is further than 15 hours from UTC, and the local clock passes each midnight once in that span but for a
  // change at midnight itself, where the search finds the first instant of the new day.
  let low = midnight - (DAY_MS / 24) * 16
  let high = midnight + (DAY_MS / 24) * 16
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (before(middle)) low = middle
    else high = middle
  }
  return high
}
