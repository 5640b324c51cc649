import type { Actor } from '../../modbus/field.js'
import { microsToIso, millisToMicros, parseJson } from '../values.js'
import type { RepositoryContext } from './context.js'
import { insertNew } from './insert-once.js'

/** What every entry may carry. Both are set before it is written for the first time. */
export interface EntryInput {
  /** Identity of the entry, at most 40 characters: appended again under it, it is there once. @default none */
  readonly id?: string
  /** Wall clock milliseconds. @default now */
  readonly at?: number
}

export interface EventInput extends EntryInput {
  /** Stable name of what happened: `bus.lost`, `clock.step`. */
  readonly kind: string
  readonly device_id?: string | null
  /** @default info */
  readonly level?: 'info' | 'warn' | 'error'
  readonly message: string
  readonly details?: Readonly<Record<string, unknown>>
}

export interface EventRecord {
  readonly id: number
  readonly time: string
  readonly kind: string
  readonly device_id: string | null
  readonly level: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
}

export interface LogFilter {
  readonly device_id?: string
  readonly kind?: string
  /** Only entries with a smaller id: the `id` of the last one of the page before. */
  readonly before?: number
  /** Microseconds since the epoch. */
  readonly fromUs?: number
  readonly toUs?: number
  /** 1 to 1,000. @default 100 */
  readonly limit?: number
}

const limitOf = (filter: LogFilter) => Math.min(1_000, Math.max(1, filter.limit ?? 100))
const json = (value: unknown) => (value === undefined || value === null ? null : JSON.stringify(value))

/** What happened: state changes of buses, devices, the store itself. */
export class EventRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  async append(events: readonly EventInput[]): Promise<void> {
    if (events.length === 0) return
    const rows = events.map((event) => ({
      time_us: millisToMicros(event.at ?? this.#context.now()),
      kind: event.kind,
      device_id: event.device_id ?? null,
      level: event.level ?? 'info',
      message: event.message,
      details: json(event.details),
      entry_id: event.id ?? null,
    }))
    const { db, dialect } = this.#context
    await insertNew(dialect, db.insertInto('routemq_events').values(rows))
  }

  /** Newest first. */
  async list(filter: LogFilter = {}): Promise<EventRecord[]> {
    let query = this.#context.reads
      .selectFrom('routemq_events')
      .selectAll()
      .orderBy('id', 'desc')
      .limit(limitOf(filter))
    if (filter.device_id !== undefined) query = query.where('device_id', '=', filter.device_id)
    if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind)
    if (filter.before !== undefined) query = query.where('id', '<', filter.before)
    if (filter.fromUs !== undefined) query = query.where('time_us', '>=', filter.fromUs)
    if (filter.toUs !== undefined) query = query.where('time_us', '<', filter.toUs)
    return (await query.execute()).map(({ time_us, details, entry_id: _, ...row }) => ({
      ...row,
      time: microsToIso(time_us),
      details: parseJson(details, {}),
    }))
  }
}

export interface AuditInput extends EntryInput {
  readonly actor: Actor
  /** What was done: `write`, `device.update`, `key.create`. */
  readonly action: string
  readonly device_id?: string | null
  /** What it was done to: `holding/10`, a point, a target. */
  readonly subject?: string | null
  /** Last known value before; JSON-serialisable. */
  readonly before?: unknown
  readonly after?: unknown
  /** A write outcome, or `refused`. */
  readonly outcome: 'ok' | 'rejected' | 'not_sent' | 'unknown' | 'refused'
  /** Error code where it did not end well. */
  readonly code?: string | null
  readonly duration_ms?: number | null
  readonly details?: Readonly<Record<string, unknown>>
}

export interface AuditRecord {
  readonly id: number
  readonly time: string
  readonly actor: Actor
  readonly action: string
  readonly device_id: string | null
  readonly subject: string | null
  readonly before: unknown
  readonly after: unknown
  readonly outcome: string
  readonly code: string | null
  readonly duration_ms: number | null
  readonly details: Readonly<Record<string, unknown>>
}

/** Who did what: every write, every refusal, every change. `append` resolves when it is durable. */
export class AuditRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  async append(entries: readonly AuditInput[]): Promise<void> {
    if (entries.length === 0) return
    const rows = entries.map((entry) => ({
      time_us: millisToMicros(entry.at ?? this.#context.now()),
      actor_kind: entry.actor.kind,
      actor_name: entry.actor.name.slice(0, 255),
      action: entry.action,
      device_id: entry.device_id ?? null,
      subject: entry.subject?.slice(0, 255) ?? null,
      before_value: json(entry.before),
      after_value: json(entry.after),
      outcome: entry.outcome,
      code: entry.code ?? null,
      duration_ms: entry.duration_ms ?? null,
      details: json(entry.details),
      entry_id: entry.id ?? null,
    }))
    const { db, dialect } = this.#context
    await insertNew(dialect, db.insertInto('routemq_audit').values(rows))
  }

  /** Newest first; `kind` filters the action. */
  async list(filter: LogFilter = {}): Promise<AuditRecord[]> {
    let query = this.#context.reads.selectFrom('routemq_audit').selectAll().orderBy('id', 'desc').limit(limitOf(filter))
    if (filter.device_id !== undefined) query = query.where('device_id', '=', filter.device_id)
    if (filter.kind !== undefined) query = query.where('action', '=', filter.kind)
    if (filter.before !== undefined) query = query.where('id', '<', filter.before)
    if (filter.fromUs !== undefined) query = query.where('time_us', '>=', filter.fromUs)
    if (filter.toUs !== undefined) query = query.where('time_us', '<', filter.toUs)
    return (await query.execute()).map((row) => ({
      id: row.id,
      time: microsToIso(row.time_us),
      actor: { kind: row.actor_kind as Actor['kind'], name: row.actor_name },
      action: row.action,
      device_id: row.device_id,
      subject: row.subject,
      before: parseJson<unknown>(row.before_value, null),
      after: parseJson<unknown>(row.after_value, null),
      outcome: row.outcome,
      code: row.code,
      duration_ms: row.duration_ms,
      details: parseJson(row.details, {}),
    }))
  }
}
