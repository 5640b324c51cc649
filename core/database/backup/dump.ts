import { type Kysely, sql } from 'kysely'
import type { Store } from '../store.js'
import type { FrameworkTables } from '../tables.js'
import { type BackupHeader, type BackupLine, type PackedReading, PLAIN_TABLES, parts } from './lines.js'

const PAGE = 5_000

/** Columns that SQLite and MySQL hold as 0 and 1. */
const FLAGS = new Set(['write_enabled', 'is_active'])

export interface DumpOptions {
  readonly store: Store
  readonly now: () => number
  /** Told how many rows are written, once a page. */
  readonly onRows?: (rows: number) => void
}

/**
 * Everything of the framework's tables as it stood at one moment, while others go on writing: a read transaction of its own
 * keeps the picture. Ends the transaction when the last line is taken, or when the taker stops.
 */
export async function* dump({ store, now, onRows = () => {} }: DumpOptions): AsyncGenerator<BackupLine> {
  const { framework } = await store.migrationStatus()
  const schema = framework.filter(({ appliedAt }) => appliedAt !== undefined).map(({ name }) => name)
  const created_at = new Date(now()).toISOString()
  yield { routemq_backup: 1, created_at, dialect: store.dialect, schema } satisfies BackupHeader
  await store.readings.settle()
  const { db, end } = await snapshot(store)
  try {
    for await (const line of linesOf(db)) {
      onRows('rows' in line ? line.rows.length : 'readings' in line ? line.readings.length : 0)
      yield line
    }
  } finally {
    await end()
  }
}

type Db = Kysely<FrameworkTables>

/** A connection that sees the database as it is now, until `end`. */
async function snapshot({ kysely, dialect }: Store): Promise<{ db: Db; end: () => Promise<void> }> {
  const opened = deferred<Db>()
  const ended = deferred<void>()
  const done = kysely.connection().execute(async (connection) => {
    const run = (statement: string) => sql.raw(statement).execute(connection)
    if (dialect === 'mysql') await run('set transaction isolation level repeatable read')
    await run(BEGIN[dialect])
    opened.resolve(connection as Db)
    await ended.promise
    await run('rollback')
  })
  done.catch(opened.reject)
  const db = await opened.promise
  const end = async () => {
    ended.resolve()
    await done
  }
  return { db, end }
}

const BEGIN = {
  // The picture is taken with the first read.
  sqlite: 'begin',
  postgres: 'begin isolation level repeatable read read only',
  mysql: 'start transaction with consistent snapshot, read only',
} as const

async function* linesOf(db: Db): AsyncGenerator<BackupLine> {
  for (const { table, key, keepsKey, large } of PLAIN_TABLES) {
    for await (const rows of pages(db, table, key, large)) {
      const portables = rows.map((row) => portable(row, keepsKey ? undefined : key))
      for (const part of parts(portables, PAGE)) yield { table, rows: part }
    }
  }
  for await (const rows of pages(db, 'routemq_sources', 'id')) {
    yield { sources: Object.fromEntries(rows.map(({ id, instance, boot }) => [id, [instance, boot]])) as never }
  }
  for await (const rows of pages(db, 'routemq_series', 'id')) {
    for (const { id, device_id, point, unit } of rows as unknown as Series[]) {
      for await (const page of readingsOf(db, id)) {
        for (const readings of parts(page, PAGE)) yield { series: { device_id, point, unit }, readings }
      }
    }
  }
}

interface Series {
  readonly id: number
  readonly device_id: string
  readonly point: string
  readonly unit: string | null
}

/** In the order of the key. Sizes are looked up first: a page of large rows would not fit into memory. */
async function* pages(
  db: Db,
  table: keyof FrameworkTables,
  key: string,
  large: readonly string[] = [],
): AsyncGenerator<Record<string, unknown>[]> {
  const column = sql.ref(key)
  const sizes = [sql.lit(0), ...large.map((name) => sql`coalesce(octet_length(${sql.ref(name)}), 0)`)]
  let after: unknown
  for (;;) {
    const behind = after === undefined ? sql`` : sql`where ${column} > ${after}`
    const { rows: found } = await sql<{ last: unknown; size: number }>`
      select ${column} as last, ${sql.join(sizes, sql` + `)} as size from ${sql.table(table)} ${behind}
      order by ${column} limit ${sql.lit(PAGE)}`.execute(db)
    for (const part of parts(found, PAGE, ({ size }) => Number(size))) {
      const last = part.at(-1)!.last
      const from = after === undefined ? sql`` : sql`and ${column} > ${after}`
      const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(table)}
        where ${column} <= ${last} ${from} order by ${column}`.execute(db)
      yield rows
      after = last
    }
    if (found.length < PAGE) return
  }
}

interface Row {
  readonly time_us: number
  readonly source_id: number
  readonly sequence: number
  readonly value: number | null
  readonly text_value: string | null
  readonly kind: number
  readonly quality: number
  readonly reason: string | null
}

async function* readingsOf(db: Db, series: number): AsyncGenerator<PackedReading[]> {
  let last: Row | undefined
  for (;;) {
    const rows: Row[] = await db
      .selectFrom('routemq_readings')
      .select(['time_us', 'source_id', 'sequence', 'value', 'text_value', 'kind', 'quality', 'reason'])
      .where('series_id', '=', series)
      .$if(last !== undefined, (query) =>
        query
          .where('time_us', '>=', last!.time_us)
          .where(({ or, and, eb }) =>
            or([
              eb('time_us', '>', last!.time_us),
              eb('source_id', '>', last!.source_id),
              and([eb('source_id', '=', last!.source_id), eb('sequence', '>', last!.sequence)]),
            ]),
          ),
      )
      .orderBy('series_id')
      .orderBy('time_us')
      .orderBy('source_id')
      .orderBy('sequence')
      .limit(PAGE)
      .execute()
    if (rows.length > 0) yield rows.map(packed)
    if (rows.length < PAGE) return
    last = rows.at(-1)
  }
}

function packed(row: Row): PackedReading {
  const { time_us, source_id, sequence, value, text_value, kind, quality, reason } = row
  return [time_us, source_id, sequence, value, text_value, kind, quality, reason]
}

/** Who runs a dead letter now: that is over when it is restored. */
const OF_NOW = new Set(['runner', 'run_until_us'])

/** A row as any of the databases takes it back. */
function portable(row: Record<string, unknown>, without: string | undefined): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(row)) {
    if (name === without || OF_NOW.has(name)) continue
    // Integers beyond 2^53: JSON has no bigint, and every database takes one as text.
    out[name] = FLAGS.has(name) ? Boolean(value) : typeof value === 'bigint' ? String(value) : value
  }
  return out
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
