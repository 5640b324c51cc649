import { type Kysely, sql } from 'kysely'
import type { DeadLetter } from '../../delivery/delivery-store.js'
import { RouteMQError } from '../../support/errors.js'
import { loadValue, QUALITIES } from '../readings/reading.js'
import type { Store } from '../store.js'
import type { FrameworkTables } from '../tables.js'
import { reasonOf } from '../watched-dialect.js'
import { type BackupHeader, type BackupLine, PLAIN_TABLES, parts, type ReadingsLine, type TableLine } from './lines.js'

/** Rows of one statement: SQLite takes 32,766 parameters, and a device has 24. */
const CHUNK = 200
const READINGS = 2_000

/** Everything that a restore fills, and the leases, which would belong to nobody; the largest first. */
const FILLED = [
  'routemq_readings',
  'routemq_series',
  'routemq_sources',
  'routemq_leases',
  ...PLAIN_TABLES.map(({ table }) => table),
] as const satisfies readonly (keyof FrameworkTables)[]

/** What a start of the product leaves behind is not data. */
const IGNORED = new Set<string>(['routemq_meta', 'routemq_leases', 'routemq_sources'])

type Db = Kysely<FrameworkTables>

/** Names of the tables that hold something. */
export async function filledTables({ kysely }: Store): Promise<string[]> {
  const found: string[] = []
  for (const table of FILLED.filter((name) => !IGNORED.has(name))) {
    const { rows } = await sql`select 1 from ${sql.table(table)} limit 1`.execute(kysely)
    if (rows.length > 0) found.push(table)
  }
  return found
}

/** @throws DATABASE_SCHEMA where the backup holds what this version does not know. */
export async function refuseNewer(store: Store, { schema }: BackupHeader): Promise<void> {
  const { framework } = await store.migrationStatus()
  const unknown = schema.filter((name) => !framework.some((known) => known.name === name))
  if (unknown.length === 0) return
  throw new RouteMQError(
    'DATABASE_SCHEMA',
    `The backup was made by a newer version: its tables had ${unknown.join(', ')}, which this one does not know. ` +
      'Restore it with that version.',
    { details: { unknown } },
  )
}

/**
 * Replaces what is in the framework's tables by the lines of a backup. They are emptied together or not at all; where
 * loading fails then, they are left empty: half of a backup must not look like one.
 *
 * @throws DATABASE_UNAVAILABLE where they could not even be left empty
 */
export async function load(
  store: Store,
  lines: AsyncIterable<BackupLine>,
  onRows: (rows: number) => void,
): Promise<void> {
  const db = store.kysely as Db
  await empty(db)
  store.readings.reset()
  try {
    let sources: Readonly<Record<number, readonly [string, string]>> = {}
    for await (const line of lines) {
      if ('table' in line) {
        await loadTable(store, line)
        onRows(line.rows.length)
      } else if ('sources' in line) sources = { ...sources, ...line.sources }
      else if ('readings' in line) {
        await loadReadings(store, line, sources)
        onRows(line.readings.length)
      }
    }
    // Ids were given, so PostgreSQL has not counted them.
    if (store.dialect === 'postgres') {
      await sql`select setval(pg_get_serial_sequence('routemq_targets', 'id'), max(id)) from routemq_targets
        having max(id) is not null`.execute(db)
    }
  } catch (error) {
    await empty(db).catch((cause: unknown) => {
      throw new RouteMQError(
        'DATABASE_UNAVAILABLE',
        `The restore broke off (${reasonOf(error)}), and its tables could not be emptied: what is in ${store.address} ` +
          'is unfinished. Restore again with --force before anything starts on it.',
        { cause },
      )
    })
    throw error
  }
}

/** In one transaction: where it fails, everything is as it was. */
async function empty(db: Db): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    for (const table of FILLED) await sql`delete from ${sql.table(table)}`.execute(transaction)
  })
}

async function loadTable(store: Store, { table, rows }: TableLine): Promise<void> {
  if (table === 'routemq_parked') return lettersOfParked(store, rows)
  for (const part of parts(rows, CHUNK)) await insert(store, table, part)
}

async function insert({ kysely, dialect }: Store, table: string, rows: TableLine['rows']): Promise<void> {
  const columns = Object.keys(rows[0]!)
  const values = rows.map((row) => sql`(${sql.join(columns.map((column) => row[column]))})`)
  // Else PostgreSQL refuses ids that it counts up itself.
  const ids = sql.raw(dialect === 'postgres' ? 'overriding system value' : '')
  await sql`insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))}) ${ids}
    values ${sql.join(values)}`.execute(kysely)
}

/**
 * A message that was parked when the backup was made may have run since: nothing may drive a machine again because of a
 * restore. As a dead letter it is kept, and a person decides.
 */
async function lettersOfParked({ deadLetters }: Store, rows: TableLine['rows']): Promise<void> {
  for (const row of rows) {
    const { attempt = 0, key: _, keeper: __, ...message } = JSON.parse(String(row.record))
    const error = { code: 'WORKER_LOST', message: 'Parked when the backup was made; it may have run since' } as const
    const failedAt = Number(row.parked_us) / 1e3
    const letter = { ...message, error, attempts: attempt, failedAt } as DeadLetter
    await deadLetters.put(letter, String(row.parked_id))
  }
}

async function loadReadings(
  { readings }: Store,
  line: ReadingsLine,
  sources: Readonly<Record<number, readonly [string, string]>>,
): Promise<void> {
  const known = new Map(Object.entries(sources).map(([id, [instance, boot]]) => [Number(id), { instance, boot }]))
  const rows = line.readings.map(([time_us, source, sequence, value, text, kind, quality, reason]) => ({
    ...line.series,
    source: known.get(source)!,
    sequence,
    time_us,
    value: loadValue({ value, text, kind }),
    quality: QUALITIES[quality] ?? 'bad',
    reason,
  }))
  for (const part of parts(rows, READINGS)) await readings.insertBatch(part)
}
