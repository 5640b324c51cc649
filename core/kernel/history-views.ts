import { boundOf } from '../database/readings/query.js'
import type { ReadingRecord } from '../database/readings/reading.js'
import type { AuditRecord, EventRecord, LogFilter, LogPosition } from '../database/repositories/log-repositories.js'
import type { Store } from '../database/store.js'
import { isoToMicros } from '../database/values.js'
import type { EventQuery, Page, ReadingQuery } from '../http/services/history.js'
import type { SidecarServices } from '../http/services.js'
import { RouteMQError } from '../support/errors.js'

/** What the database keeps, as the sidecar shows it. */
export function historyViews(store: Store): Pick<SidecarServices, 'readings' | 'events' | 'audit'> {
  return {
    readings: {
      async page(query, signal) {
        const { limit, cursor } = query
        const filter = { ...readingFilter(query), limit, ...(cursor === undefined ? {} : { cursor }) }
        const { readings, next } = await store.readings.query(filter, signal)
        return { items: readings.map(readingView), next }
      },
      async buckets({ device_id, point, from, to = new Date().toISOString(), bucket, tz }, signal) {
        const query = { device_id, point, from, to, every: bucket, tz }
        const records = await store.readings.buckets(query, signal).catch(namingBucket)
        return records.map((record) => ({ ...record, device_id, point }))
      },
    },
    events: async (query, signal) => pageOf(await store.events.list(logFilter(query), signal), query.limit, eventView),
    audit: async (query, signal) => pageOf(await store.audit.list(logFilter(query), signal), query.limit, auditView),
  }
}

/** What the database calls `every` is the parameter `bucket` here. */
function namingBucket(error: unknown): never {
  if (!(error instanceof RouteMQError) || error.details?.field !== 'every') throw error
  const { field: _, ...details } = error.details
  const fields = [{ field: 'bucket', message: error.message }]
  throw new RouteMQError(error.code, error.message, { details: { ...details, fields }, cause: error })
}

function readingFilter(query: ReadingQuery) {
  const { register_type, address, limit: _, cursor: __, ...filter } = query
  return {
    ...filter,
    ...(address === undefined ? {} : { block: { register_type: register_type ?? ('holding' as const), address } }),
  }
}

function readingView({ time, timestamp: _, ...reading }: ReadingRecord) {
  return { ...reading, timestamp: time }
}

function logFilter({ device_id, kind, from, to, limit, cursor }: EventQuery): LogFilter {
  const before = cursor === undefined ? undefined : positionOf(cursor)
  return {
    limit,
    ...(device_id === undefined ? {} : { device_id }),
    ...(kind === undefined ? {} : { kind }),
    ...(from === undefined ? {} : { fromUs: boundOf('from', from)! }),
    ...(to === undefined ? {} : { toUs: boundOf('to', to)! }),
    ...(before === undefined ? {} : { before }),
  }
}

interface LogRecord {
  readonly id: number
  readonly time: string
}

/** A full page may have a following one; its cursor is the time and the id of the last entry. */
function pageOf<R extends LogRecord, V>(rows: readonly R[], limit: number, view: (row: R) => V): Page<V> {
  const last = rows.at(-1)
  const isFull = last !== undefined && rows.length === limit
  return { items: rows.map(view), next: isFull ? `${isoToMicros(last.time)}-${last.id}` : null }
}

/** Cursors of earlier versions are an id alone. */
function positionOf(cursor: string): LogPosition | number {
  const [, first, second] = /^(\d{1,16})(?:-(\d{1,16}))?$/.exec(cursor) ?? []
  const [time, id] = [Number(first), Number(second ?? 0)]
  if (Number.isSafeInteger(time) && Number.isSafeInteger(id)) return second === undefined ? time : { timeUs: time, id }
  throw new RouteMQError('REQUEST_INVALID', 'cursor is not one that a page gave', { details: { field: 'cursor' } })
}

function eventView({ time, ...event }: EventRecord) {
  return { ...event, timestamp: time }
}

function auditView({ time, ...record }: AuditRecord) {
  return { ...record, timestamp: time }
}
