import type { AuditInput, EventInput } from '../database/repositories/log-repositories.js'
import type { WriteItem } from '../modbus/field.js'
import type { FieldEvent } from '../modbus/field-event.js'
import type { WriteAuditRecord } from '../modbus/write-audit.js'
import type { FieldChange } from '../poller/field-changes.js'

/** Longest text of a refusal. */
const TEXT_LENGTH = 4_000

/** A write of the field side as the audit keeps it. */
export function auditEntry(record: WriteAuditRecord): AuditInput {
  const { id, item, register_type, address } = record
  return {
    ...(id !== undefined && { id }),
    at: record.at,
    actor: record.actor,
    action: 'write',
    device_id: record.device_id,
    subject: readable(subjectOf(record)) as string,
    before: record.before,
    after: record.after ?? readable(askedFor(item)),
    outcome: record.refused ? 'refused' : record.outcome,
    code: record.error?.code ?? null,
    duration_ms: record.duration_ms,
    details: {
      bus: record.bus,
      unit: record.unit,
      register_type,
      address,
      ...(record.error === null ? {} : { error: readable(record.error) }),
    },
  }
}

/** A refused command quotes what a stranger sent, as long as that may be: a page of a thousand must stay readable. */
function readable(value: unknown): unknown {
  return withTexts(value, (text) => (text.length <= TEXT_LENGTH ? text : `${text.slice(0, TEXT_LENGTH)}…`))
}

function subjectOf({ item, register_type, address }: WriteAuditRecord): string {
  if ('point' in item) return item.point
  if ('function' in item) return `function/${item.function}`
  return `${register_type ?? item.register_type ?? 'holding'}/${address ?? item.address}`
}

function askedFor(item: WriteItem): unknown {
  if ('point' in item) return item.value
  if ('function' in item) return item.data ?? ''
  return 'values' in item ? item.values : { and: item.and, or: item.or }
}

/** Longest device id of a table; what a stranger names may be longer. */
const DEVICE_ID_LENGTH = 50

/** An entry as it is kept, with the request that it was made for. */
export function named(entry: AuditInput): AuditInput {
  const { request_id } = entry.actor
  return storable(
    request_id === undefined ? entry : { ...entry, details: { ...entry.details, request_id: readable(request_id) } },
  )
}

/** What was refused names what a stranger sent: no table takes a NUL, and its columns have an end. */
export function storable(entry: AuditInput): AuditInput {
  const clean = withTexts(entry, (text) => text.replaceAll('\u0000', '\ufffd')) as AuditInput
  return { ...clean, device_id: clean.device_id?.slice(0, DEVICE_ID_LENGTH) ?? null }
}

function withTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((inner) => withTexts(inner, change))
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [change(key), withTexts(inner, change)]))
}

/** A watched field of a polling target that changed. */
export function changeEntry({ device_id, target_id, field, from, to, timestamp }: FieldChange): EventInput {
  return {
    kind: 'field.changed',
    device_id,
    message: `${field} of ${device_id} changed from ${from} to ${to}`,
    details: { target_id, field, from, to },
    at: timestamp * 1_000,
  }
}

/** True for changes of devices that their bus explains: it went away, or is back and they were not heard yet. */
export function followsFromBus(event: FieldEvent): boolean {
  if (event.type !== 'device') return false
  const { state } = event
  return state.name === 'unknown' || (state.name === 'offline' && state.reason === 'bus_down')
}

/** A change of state in the field as the events table keeps it. */
export function eventEntry(event: FieldEvent): EventInput {
  switch (event.type) {
    case 'bus': {
      const { bus, state, cause, devices, at } = event
      const because = cause === undefined ? '' : `: ${cause}`
      return {
        kind: `bus.${state}`,
        level: state === 'up' ? 'info' : 'error',
        message: `bus ${bus} is ${state}${because}`,
        details: { bus, devices },
        at,
      }
    }
    case 'device': {
      const { device_id, state, at } = event
      const reason = state.name === 'offline' ? ` (${state.reason})` : ''
      return {
        kind: `device.${state.name}`,
        device_id,
        level: state.name === 'offline' ? 'warn' : 'info',
        message: `device ${device_id} is ${state.name}${reason}`,
        at,
      }
    }
    case 'breaker': {
      const { device_id, state, at } = event
      const level = state === 'open' ? 'warn' : 'info'
      return { kind: `breaker.${state}`, device_id, level, message: `the breaker of ${device_id} is ${state}`, at }
    }
    case 'owner': {
      const { buses, mine, owner, at } = event
      const named = buses.length > 5 ? `${buses.slice(0, 5).join(', ')} and ${buses.length - 5} more` : buses.join(', ')
      return {
        kind: mine ? 'bus.owned' : 'bus.standby',
        message: mine ? `this installation owns ${named}` : `${owner ?? 'nobody known'} owns ${named}`,
        details: { buses, owner },
        at,
      }
    }
    case 'device_removed':
      return {
        kind: 'device.removed',
        device_id: event.device_id,
        message: `device ${event.device_id} was removed`,
        at: event.at,
      }
    default:
      return event satisfies never
  }
}
