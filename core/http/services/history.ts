import type { Actor, FieldValue, Quality, RegisterType } from '../../modbus/field.js'

/** A page and the cursor of the next one; null on the last. */
export interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface ReadingQuery {
  readonly device_id?: string
  readonly point?: string
  readonly register_type?: RegisterType
  readonly address?: number
  /** ISO 8601 with its zone, to the microsecond, inclusive. */
  readonly from?: string
  /** Exclusive. */
  readonly to?: string
  /** Exactly this one. */
  readonly value?: number | boolean | string
  readonly quality?: Quality
  readonly min?: number
  readonly max?: number
  /** At most 1,000. */
  readonly limit: number
  readonly cursor?: string
}

export interface ReadingView {
  readonly device_id: string
  readonly point: string | null
  /** Of a raw block: its registers or bits. */
  readonly value: FieldValue | readonly (number | boolean)[]
  readonly quality: string
  /** ISO 8601 UTC. */
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export interface BucketQuery {
  readonly device_id: string
  readonly point: string
  /** ISO 8601 with its zone, to the microsecond, inclusive. */
  readonly from: string
  /** Exclusive. @default now */
  readonly to?: string
  /** Width in milliseconds, or one calendar day in `tz`. */
  readonly bucket: number | 'day'
  /** IANA name. @default UTC */
  readonly tz: string
}

export interface BucketView {
  /** ISO 8601 UTC. */
  readonly start: string
  /** ISO 8601 UTC: the start of the following bucket. */
  readonly end: string
  readonly device_id: string
  readonly point: string
  readonly count: number
  readonly avg: number | null
  readonly min: number | null
  readonly max: number | null
  readonly last: FieldValue
}

export interface ReadingService {
  /** Newest first. The signal is aborted when nobody waits for the answer any more. */
  page(query: ReadingQuery, signal?: AbortSignal): Promise<Page<ReadingView>>
  /** Oldest first, at most 1,000; those without a number are left out. */
  buckets?(query: BucketQuery, signal?: AbortSignal): Promise<readonly BucketView[]>
}

export interface EventQuery {
  readonly device_id?: string
  readonly kind?: string
  readonly from?: string
  readonly to?: string
  readonly limit: number
  readonly cursor?: string
}

export interface EventView {
  readonly kind: string
  readonly device_id: string | null
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export interface AuditQuery {
  readonly device_id?: string
  readonly from?: string
  readonly to?: string
  readonly limit: number
  readonly cursor?: string
}

export interface AuditView {
  readonly actor: Actor
  readonly action: string
  readonly timestamp: string
  readonly [fact: string]: unknown
}

export type LiveEvent =
  | { readonly type: 'value'; readonly device_id: string; readonly [fact: string]: unknown }
  | { readonly type: 'state'; readonly device_id: string | null; readonly [fact: string]: unknown }
