import type { FieldValue, Quality } from '../../modbus/field.js'
import { microsToIso } from '../values.js'

/** What a reading may hold: a value of a point, or the raw block of a target without points. */
export type ReadingValue = FieldValue | readonly (number | boolean)[]

/** Who measured: an installation, and which life of it. */
export interface ReadingSource {
  readonly instance: string
  readonly boot: string
}

/** A reading on its way in. (source, sequence) is its identity: inserted twice it is there once. */
export interface ReadingWrite {
  readonly source: ReadingSource
  readonly sequence: number
  readonly device_id: string
  /** Name of the point; a raw block is `holding/10/4`: register type, address, count. */
  readonly point: string
  readonly unit: string | null
  /** Microseconds since the epoch. */
  readonly time_us: number
  readonly value: ReadingValue
  readonly quality: Quality
  readonly reason: string | null
}

/** A reading as it comes out. */
export interface ReadingRecord {
  readonly device_id: string
  readonly point: string
  readonly unit: string | null
  /** ISO 8601 UTC with microseconds. */
  readonly time: string
  /** Unix seconds with a fraction. */
  readonly timestamp: number
  readonly value: ReadingValue
  readonly quality: Quality
  readonly reason: string | null
  readonly sequence: number
}

/** What the columns of a value hold. */
export const KIND = { none: 0, number: 1, boolean: 2, text: 3, integer: 4, block: 5 } as const
export const QUALITIES = ['good', 'uncertain', 'bad', 'stale'] as const satisfies readonly Quality[]

export interface StoredValue {
  readonly value: number | null
  readonly text: string | null
  readonly kind: number
}

const NOTHING: StoredValue = { value: null, text: null, kind: KIND.none }
const DECIMAL = /^-?\d{16,20}$/

/** Value columns of a reading. 64-bit integers come as decimal text: stored so, and as the nearest double beside it. */
export function storeValue(value: ReadingValue): StoredValue {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? { value, text: null, kind: KIND.number } : NOTHING
    case 'boolean':
      return { value: value ? 1 : 0, text: null, kind: KIND.boolean }
    case 'string':
      return DECIMAL.test(value)
        ? { value: Number(value), text: value, kind: KIND.integer }
        : { value: null, text: withoutNul(value), kind: KIND.text }
    default:
      return value === null ? NOTHING : { value: null, text: JSON.stringify(value), kind: KIND.block }
  }
}

/** The reverse of {@link storeValue}. */
export function loadValue(stored: StoredValue): ReadingValue {
  switch (stored.kind) {
    case KIND.boolean:
      return stored.value === 1
    case KIND.text:
    case KIND.integer:
      return stored.text
    case KIND.block:
      return JSON.parse(stored.text ?? '[]') as (number | boolean)[]
    default:
      return stored.value
  }
}

export const qualityNumber = (quality: Quality): number => QUALITIES.indexOf(quality)

export interface StoredReading extends StoredValue {
  readonly time_us: number
  readonly quality: number
  readonly reason: string | null
  readonly sequence: number
}

export function toReading(
  series: { readonly device_id: string; readonly point: string; readonly unit: string | null },
  stored: StoredReading,
): ReadingRecord {
  return {
    device_id: series.device_id,
    point: series.point,
    unit: series.unit,
    time: microsToIso(stored.time_us),
    timestamp: stored.time_us / 1e6,
    value: loadValue(stored),
    quality: QUALITIES[stored.quality] ?? 'bad',
    reason: stored.reason,
    sequence: stored.sequence,
  }
}

/** PostgreSQL takes no NUL in text; a string point padded with them is the same string without. */
function withoutNul(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', '') : text
}
