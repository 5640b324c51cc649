import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { DeadLetter } from '../../delivery/delivery-store.js'
import { RouteMQError } from '../../support/errors.js'
import type { DialectName } from '../dialect.js'
import { loadValue, QUALITIES } from '../readings/reading.js'
import type { AuditInput } from '../repositories/log-repositories.js'
import type { Store, StoreTransaction } from '../store.js'
import { type FrameworkTables, OF_THIS_DATABASE } from '../tables.js'
import {
  type BackupHeader,
  type BackupLine,
  type PackedReading,
  PLAIN_TABLES,
  type PlainTable,
  parts,
  type ReadingsLine,
  type TableLine,
} from './lines.js'

/** Rows of one statement: SQLite takes 32,766 parameters, and a device has 24. */
const CHUNK = 200
const READINGS = 2_000

/** What SQLite keeps aside would come into the restored readings otherwise. */
const OF_SQLITE = ['routemq_fresh_readings'] as const satisfies readonly (keyof FrameworkTables)[]

/** Everything that a restore fills, and the leases, which would belong to nobody; the largest first. */
const FILLED = [
  'routemq_readings',
  'routemq_series',
  'routemq_sources',
  'routemq_leases',
  ...PLAIN_TABLES.map(({ table }) => table),
] as const satisfies readonly (keyof FrameworkTables)[]

/**
 * Tables of which rows stay, by their key: a key that was revoked since the backup must not open anything again, a command
 * that was carried out since not be carried out again, and what was done since stays traceable.
 */
const KEPT: { readonly [table in PlainTable]?: string } = {
  routemq_api_keys: 'prefix',
  routemq_claims: 'claim_key',
  routemq_audit: 'entry_id',
}

/** What a start of the product leaves behind is not data. */
const IGNORED = new Set<string>(['routemq_meta', 'routemq_leases', 'routemq_sources'])

const NOT_PORTABLE = new Set<unknown>(Object.values(OF_THIS_DATABASE))

const filledIn = (dialect: DialectName) => (dialect === 'sqlite' ? [...OF_SQLITE, ...FILLED] : FILLED)

/** Names of the tables that hold something. */
export async function filledTables({ kysely, dialect }: Store): Promise<string[]> {
  const found: string[] = []
  for (const table of filledIn(dialect).filter((name) => !IGNORED.has(name))) {
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

export interface LoadOptions {
  readonly store: Store
  readonly lines: AsyncIterable<BackupLine>
  /** Told how many rows are loaded, once a line. */
  readonly onRows?: (rows: number) => void
  /** What the audit is told of it, in the same transaction. */
  readonly entry?: AuditInput
}

/**
 * Replaces what is in the framework's tables by the lines of a backup, in one transaction: where anything fails, everything
 * is as it was. What was revoked or done since the backup stays so: revoked keys, the claims of commands, the audit.
 */
export async function load({ store, lines, onRows = () => {}, entry }: LoadOptions): Promise<void> {
  await store.transaction(async (within) => {
    await empty(within)
    let sources: Readonly<Record<number, readonly [string, string]>> = {}
    for await (const line of lines) {
      if ('table' in line) {
        await loadTable(within, line)
        onRows(line.rows.length)
      } else if ('sources' in line) sources = { ...sources, ...line.sources }
      else if ('readings' in line) {
        await loadReadings(within, line, sources)
        onRows(line.readings.length)
      }
    }
    if (store.dialect === 'postgres') await countTargets(within)
    if (entry !== undefined) await within.audit.append([{ id: randomUUID(), ...entry }])
  })
  store.readings.reset()
}

async function empty({ kysely, dialect }: StoreTransaction): Promise<void> {
  const whole = filledIn(dialect).filter((table) => !(table in KEPT))
  // There it can be taken back, leaves nothing dead behind, and keeps others out until the end.
  if (dialect === 'postgres') await sql`truncate ${sql.join(whole.map((table) => sql.table(table)))}`.execute(kysely)
  else for (const table of whole) await sql`delete from ${sql.table(table)}`.execute(kysely)
  await sql`delete from routemq_api_keys where revoked_us is null`.execute(kysely)
  // Those of earlier versions have no identity: kept, they would be there twice.
  await sql`delete from routemq_audit where entry_id is null`.execute(kysely)
}

/** Ids were given, so PostgreSQL has not counted them. */
async function countTargets({ kysely }: StoreTransaction): Promise<void> {
  const { rows } = await sql<{ last: number | null }>`select max(id) as last from routemq_targets`.execute(kysely)
  // Unlike `setval` it is taken back with its transaction.
  await sql`alter table routemq_targets alter column id restart with ${sql.lit((rows[0]?.last ?? 0) + 1)}`.execute(
    kysely,
  )
}

async function loadTable(within: StoreTransaction, { table, rows }: TableLine): Promise<void> {
  if (!PLAIN_TABLES.some((plain) => plain.table === table))
    throw invalid(`a table ${table}, which is none of the product's`)
  if (table === 'routemq_parked') return lettersOfParked(within, rows)
  if (table === 'routemq_dead_letters' && rows.some(({ bytes }) => bytes == null)) return lettersWithin(within, rows)
  const portable = rows.filter(({ name }) => table !== 'routemq_meta' || !NOT_PORTABLE.has(name))
  for (const part of parts(portable, CHUNK)) await insert(within, table, part)
}

async function insert(
  { kysely, dialect }: StoreTransaction,
  table: PlainTable,
  rows: TableLine['rows'],
): Promise<void> {
  const columns = Object.keys(rows[0]!)
  const values = rows.map((row) => sql`(${sql.join(columns.map((column) => row[column]))})`)
  // Else PostgreSQL refuses ids that it counts up itself.
  const ids = sql.raw(dialect === 'postgres' ? 'overriding system value' : '')
  await sql`insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))}) ${ids}
    values ${sql.join(values)} ${KEPT[table] === undefined ? sql`` : unlessThere(dialect, table, KEPT[table])}`.execute(
    kysely,
  )
}

function unlessThere(dialect: DialectName, table: string, key: string) {
  if (dialect !== 'mysql') return sql`on conflict do nothing`
  return sql`on duplicate key update ${sql.ref(key)} = ${sql.ref(`${table}.${key}`)}`
}

/**
 * A message that was parked when the backup was made may have run since: nothing may drive a machine again because of a
 * restore. As a dead letter it is kept, and a person decides.
 */
async function lettersOfParked({ deadLetters }: StoreTransaction, rows: TableLine['rows']): Promise<void> {
  for (const row of rows) {
    const { attempt = 0, key: _, keeper: __, bytes: ___, crc: ____, ...kept } = JSON.parse(String(row.record))
    // Backups of earlier versions have the payload in the record.
    const message = { ...kept, payload: row.body ?? kept.payload }
    const error = { code: 'WORKER_LOST', message: 'Parked when the backup was made; it may have run since' } as const
    const failedAt = Number(row.parked_us) / 1e3
    const letter = { ...message, error, attempts: attempt, failedAt } as DeadLetter
    await deadLetters.put(letter, String(row.parked_id))
  }
}

/** Backups of earlier versions have the payload in the record. */
async function lettersWithin({ deadLetters }: StoreTransaction, rows: TableLine['rows']): Promise<void> {
  for (const { id, record, body } of rows) {
    const letter = JSON.parse(String(record)) as DeadLetter
    await deadLetters.put({ ...letter, payload: body == null ? letter.payload : String(body) }, String(id))
  }
}

async function loadReadings(
  { readings }: StoreTransaction,
  line: ReadingsLine,
  sources: Readonly<Record<number, readonly [string, string]>>,
): Promise<void> {
  const known = new Map(Object.entries(sources).map(([id, [instance, boot]]) => [Number(id), { instance, boot }]))
  if (!line.readings.every(isReading)) throw invalid('a reading whose time, number or value is none')
  const rows = line.readings.map(([time_us, source, sequence, value, text, kind, quality, reason]) => ({
    ...line.series,
    source: known.get(source) ?? unknownSource(source),
    sequence,
    time_us,
    value: loadValue({ value, text, kind }),
    quality: QUALITIES[quality] ?? 'bad',
    reason,
  }))
  for (const part of parts(rows, READINGS)) await readings.insertBatch(part)
}

function isReading([time, , sequence, value, text, , , reason]: PackedReading): boolean {
  const isText = (column: unknown) => column === null || typeof column === 'string'
  const isNumber = value === null || typeof value === 'number'
  return Number.isSafeInteger(time) && Number.isSafeInteger(sequence) && isNumber && isText(text) && isText(reason)
}

function unknownSource(source: number): never {
  throw invalid(`readings of a source ${source} that it does not name`)
}

function invalid(what: string): RouteMQError {
  return new RouteMQError('BACKUP_INVALID', `The backup holds ${what}`)
}
