import type { Insertable, Kysely, Updateable } from 'kysely'
import type { DeviceInput, DeviceRecord } from '../../modbus/device-record.js'
import { RouteMQError } from '../../support/errors.js'
import { isDuplicate } from '../connection-errors.js'
import type { DeviceRow, FrameworkTables } from '../tables.js'
import { microsToIso, millisToMicros, parseJson } from '../values.js'
import type { RepositoryContext } from './context.js'
import { seedOnce } from './seeding.js'

/** Fields of a device that may be changed. */
export type DevicePatch = Partial<Omit<DeviceInput, 'device_id'>>

/** The devices. Records are not validated here: who takes input does that. */
export class DeviceRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** In the order of `device_id`. */
  async list(activeOnly = false): Promise<DeviceRecord[]> {
    const rows = await this.#context.db
      .selectFrom('routemq_devices')
      .selectAll()
      .$if(activeOnly, (query) => query.where('is_active', '=', true))
      .orderBy('device_id')
      .execute()
    return rows.map(toRecord)
  }

  async get(deviceId: string): Promise<DeviceRecord | undefined> {
    const row = await this.#context.db
      .selectFrom('routemq_devices')
      .selectAll()
      .where('device_id', '=', deviceId)
      .executeTakeFirst()
    return row === undefined ? undefined : toRecord(row)
  }

  /** Rejects with DEVICE_EXISTS. */
  async insert(input: DeviceInput): Promise<DeviceRecord> {
    try {
      await this.#insert(this.#context.db, input)
    } catch (error) {
      if (!isDuplicate(error)) throw error
      throw new RouteMQError('DEVICE_EXISTS', `There is a device ${input.device_id} already`, {
        details: { device_id: input.device_id },
        cause: error,
      })
    }
    return this.#required(input.device_id)
  }

  /** Rejects with DEVICE_UNKNOWN. */
  async update(deviceId: string, patch: DevicePatch): Promise<DeviceRecord> {
    const changes: Updateable<DeviceRow> = toRow(patch)
    await this.#context.db
      .updateTable('routemq_devices')
      .set({ ...changes, updated_us: millisToMicros(this.#context.now()) })
      .where('device_id', '=', deviceId)
      .execute()
    return this.#required(deviceId)
  }

  /** Soft delete and its reverse. Rejects with DEVICE_UNKNOWN. */
  setActive(deviceId: string, active: boolean): Promise<DeviceRecord> {
    return this.update(deviceId, { is_active: active })
  }

  /** Inserts an application's own devices into a database that never had any; true where it did. */
  async seed(inputs: readonly DeviceInput[]): Promise<boolean> {
    if (inputs.length === 0) return false
    return seedOnce(this.#context.db, 'devices', async (transaction) => {
      const known = new Set(
        (await transaction.selectFrom('routemq_devices').select('device_id').execute()).map((row) => row.device_id),
      )
      for (const input of inputs) if (!known.has(input.device_id)) await this.#insert(transaction, input)
    })
  }

  async #insert(db: Kysely<FrameworkTables>, input: DeviceInput): Promise<void> {
    const now = millisToMicros(this.#context.now())
    const row: Insertable<DeviceRow> = {
      ...DEFAULTS,
      ...toRow(input),
      device_id: input.device_id,
      created_us: now,
      updated_us: now,
    }
    await db.insertInto('routemq_devices').values(row).execute()
  }

  async #required(deviceId: string): Promise<DeviceRecord> {
    const record = await this.get(deviceId)
    if (record !== undefined) return record
    throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${deviceId}`, { details: { device_id: deviceId } })
  }
}

const DEFAULTS = {
  host: null,
  port: null,
  slave_id: 1,
  unit_id: null,
  timeout: 10,
  timeout_ms: null,
  poll_timeout_ms: null,
  framer: 'RTU',
  transport: 'tcp',
  path: null,
  baud_rate: null,
  parity: null,
  data_bits: null,
  stop_bits: null,
  max_retries: 5,
  retry_delay: 0.1,
  write_enabled: true,
  raw_write: 'allow',
  is_active: true,
  points: '[]',
  options: '{}',
} satisfies Partial<DeviceRow>

const COLUMNS = new Set<string>(Object.keys(DEFAULTS))

/** What is `undefined` or no column stays out: it keeps its default or its value. */
function toRow(input: DevicePatch): Partial<DeviceRow> {
  const { points, options, ...plain } = input
  const row: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(plain)) if (value !== undefined && COLUMNS.has(name)) row[name] = value
  if (points !== undefined) row.points = JSON.stringify(points)
  if (options !== undefined) row.options = JSON.stringify(options)
  if (typeof row.framer === 'string') row.framer = row.framer.toUpperCase()
  return row as Partial<DeviceRow>
}

function toRecord(row: DeviceRow): DeviceRecord {
  const { created_us, updated_us, ...rest } = row
  return {
    ...rest,
    framer: row.framer.toUpperCase() as DeviceRecord['framer'],
    transport: row.transport as DeviceRecord['transport'],
    parity: row.parity as DeviceRecord['parity'],
    data_bits: row.data_bits as DeviceRecord['data_bits'],
    stop_bits: row.stop_bits as DeviceRecord['stop_bits'],
    raw_write: row.raw_write as DeviceRecord['raw_write'],
    write_enabled: Boolean(row.write_enabled),
    is_active: Boolean(row.is_active),
    points: parseJson<DeviceRecord['points']>(row.points, []),
    options: parseJson<DeviceRecord['options']>(row.options, {}),
    created_at: microsToIso(created_us),
    updated_at: microsToIso(updated_us),
  }
}
