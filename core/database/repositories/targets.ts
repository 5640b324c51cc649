import type { Insertable, Kysely } from 'kysely'
import type { TargetInput, TargetRecord } from '../../modbus/device-record.js'
import { RouteMQError } from '../../support/errors.js'
import type { FrameworkTables, TargetRow } from '../tables.js'
import { microsToIso, millisToMicros, parseJson } from '../values.js'
import type { RepositoryContext } from './context.js'
import { seedOnce } from './seeding.js'

/** Fields of a target that may be changed. */
export type TargetPatch = Partial<TargetInput>

/** The polling targets. Records are not validated here: who takes input does that. */
export class TargetRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** In the order of `id`. */
  async list(filter: { readonly activeOnly?: boolean; readonly deviceId?: string } = {}): Promise<TargetRecord[]> {
    const { activeOnly = false, deviceId } = filter
    let query = this.#context.db.selectFrom('routemq_targets').selectAll().orderBy('id')
    if (activeOnly) query = query.where('is_active', '=', true)
    if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
    return (await query.execute()).map(toRecord)
  }

  async get(id: number): Promise<TargetRecord | undefined> {
    const row = await this.#context.db.selectFrom('routemq_targets').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? undefined : toRecord(row)
  }

  async insert(input: TargetInput): Promise<TargetRecord> {
    return this.#required(await this.#insert(this.#context.db, input))
  }

  /** Rejects with TARGET_UNKNOWN. */
  async update(id: number, patch: TargetPatch): Promise<TargetRecord> {
    await this.#context.db
      .updateTable('routemq_targets')
      .set({ ...toRow(patch), updated_us: millisToMicros(this.#context.now()) })
      .where('id', '=', id)
      .execute()
    return this.#required(id)
  }

  /** Soft delete and its reverse. Rejects with TARGET_UNKNOWN. */
  setActive(id: number, active: boolean): Promise<TargetRecord> {
    return this.update(id, { is_active: active })
  }

  /** Inserts an application's own targets into a database that never had any; true where it did. */
  async seed(inputs: readonly TargetInput[]): Promise<boolean> {
    if (inputs.length === 0) return false
    return seedOnce(this.#context.db, 'targets', async (transaction) => {
      for (const input of inputs) await this.#insert(transaction, input)
    })
  }

  async #insert(db: Kysely<FrameworkTables>, input: TargetInput): Promise<number> {
    const now = millisToMicros(this.#context.now())
    const row: Insertable<TargetRow> = {
      ...DEFAULTS,
      ...toRow(input),
      device_id: input.device_id,
      address: input.address,
      created_us: now,
      updated_us: now,
    }
    const insert = db.insertInto('routemq_targets').values(row)
    if (this.#context.dialect === 'postgres') return (await insert.returning('id').executeTakeFirstOrThrow()).id
    return Number((await insert.executeTakeFirstOrThrow()).insertId)
  }

  async #required(id: number): Promise<TargetRecord> {
    const record = await this.get(id)
    if (record !== undefined) return record
    throw new RouteMQError('TARGET_UNKNOWN', `There is no polling target ${id}`, { details: { id } })
  }
}

const DEFAULTS = {
  register_type: 'holding',
  count: 1,
  description: null,
  is_active: true,
  interval_ms: null,
  publish: 'always',
  options: '{}',
} satisfies Partial<TargetRow>

const COLUMNS = new Set<string>([...Object.keys(DEFAULTS), 'device_id', 'address'])

function toRow(input: TargetPatch): Partial<Omit<TargetRow, 'id'>> {
  const { options, ...plain } = input
  const row: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(plain)) if (value !== undefined && COLUMNS.has(name)) row[name] = value
  if (options !== undefined) row.options = JSON.stringify(options)
  return row as Partial<Omit<TargetRow, 'id'>>
}

function toRecord(row: Omit<TargetRow, 'id'> & { id: number }): TargetRecord {
  const { created_us, updated_us, ...rest } = row
  return {
    ...rest,
    register_type: row.register_type as TargetRecord['register_type'],
    publish: row.publish as TargetRecord['publish'],
    is_active: Boolean(row.is_active),
    options: parseJson<TargetRecord['options']>(row.options, {}),
    created_at: microsToIso(created_us),
    updated_at: microsToIso(updated_us),
  }
}
