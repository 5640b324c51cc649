import type { InboundMessage } from '../mqtt/message.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'

/** Unix times by their size: as seconds 1e11 is the year 5138, as milliseconds 1973; and so on for finer units. */
const UNITS: readonly (readonly [below: number, perMillisecond: number])[] = [
  [1e11, 1e-3],
  [1e14, 1],
  [1e17, 1e3],
  [1e20, 1e6],
]

/**
 * Wall clock milliseconds of what people put into a payload: Unix seconds, milliseconds, microseconds or nanoseconds, as a
 * number or a text, or an ISO 8601 text. Undefined where it is none of them.
 */
export function parseInstant(value: unknown): number | undefined {
  if (typeof value === 'string') {
    if (/^\d{9,20}(\.\d+)?$/.test(value)) return parseInstant(Number(value))
    if (!/^\d{4}-\d\d-\d\d/.test(value)) return undefined
    const parsed = Date.parse(value)
    return Number.isNaN(parsed) ? undefined : parsed
  }
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) return undefined
  const unit = UNITS.find(([below]) => value < below)
  return unit === undefined ? undefined : value / unit[1]
}

/**
 * Wall clock milliseconds after which a message may not drive anything; undefined where it does not age. In this order:
 * the MQTT 5 message expiry, the payload's `expires_at`, its `timestamp` plus `maxAge`, its arrival plus `maxAge`.
 * Throws COMMAND_AGE_UNKNOWN where it must age and nothing tells since when, PAYLOAD_INVALID where its time cannot be read.
 */
export function deadlineOf(
  message: InboundMessage,
  payload: unknown,
  maxAgeMs: number | undefined,
): number | undefined {
  const expiry = message.properties.messageExpiryInterval
  // Seconds that were left when the broker sent it (MQTT 5.0, 3.3.2.3.3).
  if (expiry !== undefined) return message.receivedAt + expiry * 1_000
  const isCommand = maxAgeMs !== undefined
  const expiresAt = instantIn(payload, 'expires_at', isCommand)
  if (expiresAt !== undefined) return expiresAt
  if (maxAgeMs === undefined) return undefined
  const timestamp = instantIn(payload, 'timestamp', isCommand)
  // A sender whose clock runs ahead must not make its commands live longer.
  if (timestamp !== undefined) return Math.min(timestamp, message.receivedAt) + maxAgeMs
  const waitedMs = message.fresh ? 0 : message.queuedAtMostMs
  // Counted as old as it can be; younger than its age limit, it may still be driven.
  if (waitedMs !== undefined && waitedMs < maxAgeMs) return message.receivedAt - waitedMs + maxAgeMs
  throw new RouteMQError(
    'COMMAND_AGE_UNKNOWN',
    `the message may be older than ${maxAgeMs} ms: it waited at the broker and carries no time`,
    { details: { max_age_ms: maxAgeMs } },
  )
}

/** A time that a sender gave. On a route whose messages age, one that nobody can read must not count as none. */
function instantIn(payload: unknown, field: string, isCommand: boolean): number | undefined {
  const given = ownField(payload, field)
  if (given === undefined || given === null) return undefined
  const instant = parseInstant(given)
  if (instant !== undefined || !isCommand) return instant
  const message = `${field} is not a time: Unix seconds or an ISO 8601 text was expected`
  throw new RouteMQError('PAYLOAD_INVALID', message, { details: { fields: [{ path: field, message }] } })
}

/** A deadline on both clocks: the wall clock, which may be set, and the one that never steps. */
export interface Deadline {
  /** Wall clock milliseconds. */
  readonly deadline: number | undefined
  /** Monotonic milliseconds. */
  readonly lapsesAt: number | undefined
}

/** Milliseconds since it passed on either clock, whichever passed it first; negative before, undefined without one. */
export function latenessOf({ deadline, lapsesAt }: Deadline, clock: Clock): number | undefined {
  if (deadline === undefined) return undefined
  const late = clock.now() - deadline
  return lapsesAt === undefined ? late : Math.max(late, clock.monotonic() - lapsesAt)
}

/** Throws COMMAND_EXPIRED once the deadline has passed. */
export function refuseExpired(limit: Deadline, clock: Clock): void {
  const late = latenessOf(limit, clock)
  if (late === undefined || late < 0) return
  throw new RouteMQError('COMMAND_EXPIRED', `the message expired ${Math.round(late)} ms ago`, {
    details: { expired_at: new Date(limit.deadline!).toISOString(), late_ms: Math.round(late) },
  })
}

/** A field of a payload that is an object; never one that it inherits. */
export function ownField(payload: unknown, name: string): unknown {
  if (typeof payload !== 'object' || payload === null || !Object.hasOwn(payload, name)) return undefined
  return (payload as Record<string, unknown>)[name]
}
