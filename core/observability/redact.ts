import { RouteMQError } from '../support/errors.js'

const SECRET_KEY =
  /^(.*[_-])?(api[_-]?keys?|pass(word|wd|phrase)?|secret|token|authorization|cookie|set-cookie|jwt|private[_-]?key|credentials?)$|(ApiKeys?|Password|Secret|Token|PrivateKey)$/i
/** The password in `scheme://user:password@host`, wherever it stands in a text. */
const URL_PASSWORD = /([a-z][a-z0-9+.-]*:\/\/[^\s/:@]*):[^\s/@]+@/gi
/** Also one that was cut short: what follows its first line is secret. */
const PRIVATE_KEY = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g
const CREDENTIAL = /\b(Bearer|Basic)\s+[A-Za-z0-9+/_.~=-]{8,}/g
const OWN_KEY = /\brmq_[0-9a-f]{12}_[A-Za-z0-9_-]{20,}/g

interface Bounds {
  readonly depth: number
  readonly items: number
  readonly text: number
}

const OF_LOGS: Bounds = { depth: 6, items: 100, text: 10_000 }
const NONE: Bounds = {
  depth: Number.POSITIVE_INFINITY,
  items: Number.POSITIVE_INFINITY,
  text: Number.POSITIVE_INFINITY,
}

export const REDACTED = '[redacted]'

/** Shorter ones would take ordinary words out of every record. */
const SHORTEST_SECRET = 8
const hidden = new Set<string>()
let hiddenValues: RegExp | undefined

/** From now on these texts are in no record, wherever they come from: a caller may send a key as part of a path. */
export function hideValues(values: readonly string[]): void {
  for (const value of values) if (value.length >= SHORTEST_SECRET) hidden.add(value)
  if (hidden.size === 0) return
  const longestFirst = [...hidden].sort((a, b) => b.length - a.length)
  hiddenValues = new RegExp(longestFirst.map((value) => value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), 'g')
}

/** A text without the secrets whose shape, or whose text, can be known. */
export function redactText(text: string, most = OF_LOGS.text): string {
  const short = text.length > most ? `${text.slice(0, most)}… (${text.length} characters)` : text
  const known = short
    .replace(URL_PASSWORD, `$1:${REDACTED}@`)
    .replace(CREDENTIAL, `$1 ${REDACTED}`)
    .replace(OWN_KEY, REDACTED)
    .replace(PRIVATE_KEY, REDACTED)
  return hiddenValues === undefined ? known : known.replace(hiddenValues, REDACTED)
}

/**
 * A copy of what is to be logged: secrets replaced by what their keys say, errors in full, everything JSON can carry and
 * bounded in depth and length, so that no record can be as long as what it is about.
 */
export function redact(value: unknown, depth = 0, bounds = OF_LOGS): unknown {
  if (typeof value === 'string') return redactText(value, bounds.text)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Error) return redactError(value, depth)
  if (depth >= bounds.depth) return '[deeper]'
  if (Array.isArray(value)) {
    const items = value.slice(0, bounds.items).map((item) => redact(item, depth + 1, bounds))
    return value.length > bounds.items ? [...items, `… (${value.length} items)`] : items
  }
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Map || value instanceof Set) return redact([...value], depth, bounds)
  return redactRecord(value, depth, bounds)
}

export function redactRecord(record: object, depth = 0, bounds = OF_LOGS): Record<string, unknown> {
  const entries = Object.entries(record)
  const copy: Record<string, unknown> = {}
  for (const [key, value] of entries.slice(0, bounds.items)) {
    copy[key] =
      value !== undefined && value !== null && SECRET_KEY.test(key) ? REDACTED : redact(value, depth + 1, bounds)
  }
  return copy
}

/** A record without its secrets and else whole: what is audited must not be cut. */
export function withoutSecrets(record: object): Record<string, unknown> {
  return redactRecord(record, 0, NONE)
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const shape: Record<string, unknown> = { type: error.name, message: redactText(error.message) }
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' || typeof code === 'number') shape.code = code
  if (error instanceof RouteMQError) {
    if (error.details !== undefined) shape.details = redact(error.details, depth + 1)
  } else if (error.stack !== undefined) {
    shape.stack = redactText(error.stack)
  }
  if (error.cause !== undefined && depth < OF_LOGS.depth) shape.cause = redact(error.cause, depth + 1)
  return shape
}
