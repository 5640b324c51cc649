import { type Selectable, type SqlBool, sql } from 'kysely'
import type { Actor } from '../../modbus/field.js'
import { Patience } from '../patience.js'
import type { FrameworkTables } from '../tables.js'
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

/** Place of an entry in the order of time. */
export interface LogPosition {
  /** Microseconds since the epoch. */
  readonly timeUs: number
  readonly id: number
}

export interface LogFilter {
  readonly device_id?: string
  readonly kind?: string
  /** Only what comes behind this entry: the last one of the page before, or its `id` alone. */
  readonly before?: LogPosition | number
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

  /**
   * Newest first, by the time at which it happened: what waited in a spool has its place among the others. Rejects with
   * HISTORY_TIMEOUT where it takes too long.
   *
   * @param signal aborted when nobody waits for the answer any more
   */
  async list(filter: LogFilter = {}, signal?: AbortSignal): Promise<EventRecord[]> {
    const rows = await newest(this.#context, 'routemq_events', 'kind', filter, signal)
    return rows.map(({ time_us, details, entry_id: _, ...row }) => ({
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

  /** As events are listed; `kind` filters the action. */
  async list(filter: LogFilter = {}, signal?: AbortSignal): Promise<AuditRecord[]> {
    const rows = await newest(this.#context, 'routemq_audit', 'action', filter, signal)
    return rows.map((row) => ({
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

type LogTable = 'routemq_events' | 'routemq_audit'
type LogRow<T extends LogTable> = Selectable<FrameworkTables[T]>

function newest<T extends LogTable>(
  context: RepositoryContext,
  table: T,
  kind: 'kind' | 'action',
  filter: LogFilter,
  signal: AbortSignal | undefined,
): Promise<LogRow<T>[]> {
  const patience = new Patience(context.historyMs, signal)
  return patience.during(async () => {
    const conditions = [sql<SqlBool>`1 = 1`]
    if (filter.device_id !== undefined) conditions.push(sql`device_id = ${filter.device_id}`)
    if (filter.kind !== undefined) conditions.push(sql`${sql.ref(kind)} = ${filter.kind}`)
    if (filter.before !== undefined) conditions.push(await behind(context, table, filter.before, patience))
    if (filter.fromUs !== undefined) conditions.push(sql`time_us >= ${filter.fromUs}`)
    if (filter.toUs !== undefined) conditions.push(sql`time_us < ${filter.toUs}`)
    patience.check()
    const { rows } = await sql<LogRow<T>>`select * from ${sql.table(table)} where ${sql.join(conditions, sql` and `)}
      order by time_us desc, id desc limit ${sql.lit(limitOf(filter))}`.execute(context.reads)
    return rows
  })
}

async function behind({ reads }: RepositoryContext, table: LogTable, before: LogPosition | number, patience: Patience) {
  let position = before
  if (typeof position === 'number') {
    patience.check()
    const { rows } = await sql<LogPosition>`
      select time_us as ${sql.ref('timeUs')}, id from ${sql.table(table)} where id = ${position}`.execute(reads)
    position = rows[0] ?? position
  }
  // Of an entry that has gone meanwhile nobody knows the time any more.
  if (typeof position === 'number') return sql<SqlBool>`id < ${position}`
  const { timeUs, id } = position
  return sql<SqlBool>`time_us <= ${timeUs} and (time_us < ${timeUs} or id < ${id})`
}
