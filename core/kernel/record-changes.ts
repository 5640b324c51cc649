import { isDeepStrictEqual } from 'node:util'
import { withoutSecrets } from '../observability/redact.js'

/** What of a record is to be stored: the rest may be changed by others meanwhile. */
export function changedFields<T extends object>(before: T, after: T): Partial<T> {
  const changed = Object.entries(after).filter(([field, value]) => !isDeepStrictEqual(before[field as keyof T], value))
  return Object.fromEntries(changed) as Partial<T>
}

/** The fields that a change touched, before and after, and of points those; never the private key of a TLS device. */
export function difference<T extends object>(before: T, after: T, view: (record: T) => T = (record) => record) {
  const changed = (Object.keys(after) as (keyof T & string)[]).filter(
    (field) => field !== 'updated_at' && JSON.stringify(before[field]) !== JSON.stringify(after[field]),
  )
  const only = (record: T, other: T) =>
    withoutSecrets(Object.fromEntries(changed.map((field) => [field, changedItems(record[field], other[field])])))
  const [shownBefore, shownAfter] = [view(before), view(after)]
  return { before: only(shownBefore, shownAfter), after: only(shownAfter, shownBefore) }
}

/** Of a list of named items those that the other has not so; their names where only the order differs. */
function changedItems(value: unknown, other: unknown): unknown {
  if (!isNamedList(value) || !isNamedList(other)) return value
  const others = new Map(other.map((item) => [item.name, item]))
  const names = new Set(value.map(({ name }) => name))
  const isSame = (item: Named) => isDeepStrictEqual(item, others.get(item.name))
  if (names.size === others.size && value.every(isSame)) return [...names]
  return value.filter((item) => !isSame(item))
}

interface Named {
  readonly name: string
}

function isNamedList(value: unknown): value is readonly Named[] {
  return Array.isArray(value) && value.every((item) => typeof (item as Partial<Named> | null)?.name === 'string')
}

/** A record without the times that the table keeps itself. */
export function settable<T extends { readonly created_at: string; readonly updated_at: string }>(record: T) {
  const { created_at: _, updated_at: __, ...rest } = record
  return rest
}
