import { existsSync } from 'node:fs'
import pg from 'pg'
import { maskUrl } from '../../config/mistakes.js'
import { parseDatabaseUrl } from '../../config/urls.js'
import { openEngine } from '../../database/sqlite/engine.js'
import { RouteMQError } from '../../support/errors.js'

const DEVICE_FIELDS = [
  'device_id',
  'host',
  'port',
  'slave_id',
  'timeout',
  'framer',
  'max_retries',
  'retry_delay',
  'is_active',
] as const
const TARGET_FIELDS = ['device_id', 'register_type', 'address', 'count', 'description', 'is_active'] as const

type Row = Readonly<Record<string, unknown>>
type Query = (sql: string) => Promise<readonly Row[]>

/** What a NexusBus installation keeps: inputs as the sidecar takes them. */
export interface NexusBusPlant {
  readonly devices: readonly Row[]
  readonly targets: readonly Row[]
}

/**
 * Reads devices and polling targets of a NexusBus database, PostgreSQL or SQLite, and changes nothing there.
 *
 * @throws USAGE where the URL is none of these, DATABASE_UNAVAILABLE where it cannot be read.
 */
export async function readNexusBus(url: string, root: string): Promise<NexusBusPlant> {
  const address = parseDatabaseUrl(url, root)
  if (address?.kind === 'sqlite') return fromSqlite(address.file)
  if (address?.kind === 'postgres') return fromPostgres(address.url)
  throw new RouteMQError('USAGE', `${maskUrl(url)} is no postgresql:// or sqlite:/// URL`)
}

async function fromSqlite(file: string): Promise<NexusBusPlant> {
  // Opening would make the file.
  if (!existsSync(file)) throw new RouteMQError('DATABASE_UNAVAILABLE', `there is no file ${file}`)
  const engine = openEngine(file)
  try {
    engine.exec('pragma query_only = on')
    return await read(async (sql) => engine.prepare(sql).all([]))
  } catch (error) {
    throw unreadable(file, error)
  } finally {
    engine.close()
  }
}

async function fromPostgres(url: string): Promise<NexusBusPlant> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 60_000 })
  try {
    await client.connect()
    return await read(async (sql) => (await client.query<Row>(sql)).rows)
  } catch (error) {
    throw unreadable(maskUrl(url), error)
  } finally {
    await client.end().catch(() => undefined) // a connection that never came has nothing to end
  }
}

async function read(query: Query): Promise<NexusBusPlant> {
  const devices = await query('SELECT * FROM devices ORDER BY device_id')
  const targets = await query('SELECT * FROM polling_targets ORDER BY id')
  return {
    devices: devices.map((row) => inputOf(row, DEVICE_FIELDS)),
    targets: targets.map((row) => inputOf(row, TARGET_FIELDS)),
  }
}

/** The known fields that have a value; drivers give large integers and decimals as texts or bigint, SQLite 0 and 1 for booleans. */
function inputOf(row: Row, fields: readonly string[]): Row {
  const present = fields.filter((field) => row[field] !== null && row[field] !== undefined)
  return Object.fromEntries(present.map((field) => [field, plainOf(field, row[field])]))
}

function plainOf(field: string, value: unknown): unknown {
  if (field === 'is_active') return value === true || Number(value) === 1
  if (typeof value === 'bigint') return Number(value)
  const isText = ['device_id', 'host', 'framer', 'register_type', 'description'].includes(field)
  return isText || typeof value !== 'string' ? value : Number(value)
}

function unreadable(where: string, error: unknown): RouteMQError {
  const reason = error instanceof Error ? error.message : String(error)
  return new RouteMQError('DATABASE_UNAVAILABLE', `${where} cannot be read as a NexusBus database: ${reason}`, {
    cause: error,
  })
}
