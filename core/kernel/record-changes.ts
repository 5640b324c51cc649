import { isDeepStrictEqual } from 'node:util'
import { redactRecord } from '../observability/redact.js'

/** What of a record is to be stored: the rest may be changed by others meanwhile. */
export function changedFields<T extends object>(before: T, after: T): Partial<T> {
  const changed = Object.entries(after).filter(([field, value]) => !isDeepStrictEqual(before[field as keyof T], value))
  return Object.fromEntries(changed) as Partial<T>
}

/** The fields that a change touched, before and after; never the private key of a TLS device. */
export function difference<T extends object>(before: T, after: T, view: (record: T) => T = (record) => record) {
  const changed = (Object.keys(after) as (keyof T & string)[]).filter(
    (field) => field !== 'updated_at' && JSON.stringify(before[field]) !== JSON.stringify(after[field]),
  )
  const only = (record: T) => redactRecord(Object.fromEntries(changed.map((field) => [field, record[field]])))
  return { before: only(view(before)), after: only(view(after)) }
}

/** A record without the times that the table keeps itself. */
export function settable<T extends { readonly created_at: string; readonly updated_at: string }>(record: T) {
  const { created_at: _, updated_at: __, ...rest } = record
  return rest
}
