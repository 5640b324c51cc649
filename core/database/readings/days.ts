import { RouteMQError } from '../../support/errors.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/**
 * Starts of the calendar days of `tz` that touch `from`..`to` (microseconds), and the end of the last one; the first
 * and last are cut to the range. A day with a change to or from daylight saving has 23 or 25 hours.
 */
export function dayBoundaries(from: number, to: number, tz: string): number[] {
  if (to <= from) return []
  const zone = zoneOf(tz)
  const offset = offsetsOf(zone)
  const bounds = [from]
  let { year, month, day } = zone(Math.floor(from / 1e3))
  for (;;) {
    const next = new Date(Date.UTC(year, month - 1, day + 1))
    year = next.getUTCFullYear()
    month = next.getUTCMonth() + 1
    day = next.getUTCDate()
    const start = startOfDay(offset, next.getTime()) * 1e3
    if (start >= to) break
    if (start > bounds.at(-1)!) bounds.push(start)
    if (bounds.length > 100_000) break
  }
  bounds.push(to)
  return bounds
}

/** @throws REQUEST_INVALID where there is no such zone */
export function checkZone(tz: string): void {
  zoneOf(tz)
}

interface Local {
  readonly year: number
  readonly month: number
  readonly day: number
  /** The local wall clock, read as if it were UTC, milliseconds. */
  readonly wall: number
}

type Zone = (millis: number) => Local

/** Making one takes longer than asking it a hundred times. */
const zones = new Map<string, Zone>()
/** More than an installation asks for; names can be spelt in endless ways. */
const ZONES_KEPT = 50

function zoneOf(tz: string): Zone {
  let zone = zones.get(tz)
  if (zone === undefined) {
    zone = makeZone(tz)
    if (zones.size >= ZONES_KEPT) zones.clear()
    zones.set(tz, zone)
  }
  return zone
}

function makeZone(tz: string): Zone {
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
function startOfDay(offset: (millis: number) => number, midnight: number): number {
  // The clock of the day before and of the day after: where they agree, midnight is a matter of subtraction.
  const before = offset(midnight - DAY_MS)
  if (before === offset(midnight + DAY_MS)) return midnight - before
  // No zone is further than 15 hours from UTC, and the local clock passes each midnight once in that span but for a
  // change at midnight itself, where the search finds the first instant of the new day.
  let low = midnight - 16 * HOUR_MS
  let high = midnight + 16 * HOUR_MS
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (middle + offset(middle) < midnight) low = middle
    else high = middle
  }
  return high
}

/** What the zone's clock is ahead of UTC, milliseconds. A day's midnight asks what the one before has asked. */
function offsetsOf(zone: Zone): (millis: number) => number {
  const known = new Map<number, number>()
  return (millis) => {
    let offset = known.get(millis)
    if (offset === undefined) {
      // The wall clock has no milliseconds.
      offset = zone(millis).wall - Math.floor(millis / 1e3) * 1e3
      known.set(millis, offset)
    }
    return offset
  }
}
