import { sql } from 'kysely'
import { RouteMQError } from '../../support/errors.js'
import type { RepositoryContext } from '../repositories/context.js'
import type { ReadingFilter } from './query.js'

export interface Series {
  readonly id: number
  readonly device_id: string
  readonly point: string
  readonly unit: string | null
}

/** Series one query covers at most. */
const MOST_SERIES = 500
/** Rows one statement inserts at most. */
const CHUNK = 500

/** The numbers that stand for (device, point) in the readings, kept in memory and made where they are missing. */
export class SeriesIndex {
  readonly #context: RepositoryContext
  /** By device, then by point: looked up for every row, so no key is put together. */
  #known = new Map<string, Map<string, Series>>()

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** Forgets what it knows: the database may be another one now. */
  reset(): void {
    this.#known = new Map()
  }

  get(deviceId: string, point: string): Series | undefined {
    return this.#known.get(deviceId)?.get(point)
  }

  /**
   * The numbers of the series of `rows`, in their order; undefined where one is not known, or with another unit unless
   * `anyUnit`.
   */
  numbersOf(
    rows: readonly { readonly device_id: string; readonly point: string; readonly unit: string | null }[],
    anyUnit = false,
  ): Int32Array | undefined {
    const numbers = new Int32Array(rows.length)
    let device: string | undefined
    let points: Map<string, Series> | undefined
    for (let at = 0; at < rows.length; at++) {
      const row = rows[at]!
      // Rows of a device lie together.
      if (row.device_id !== device) {
        device = row.device_id
        points = this.#known.get(device)
      }
      const known = points?.get(row.point)
      if (known === undefined || (!anyUnit && row.unit !== null && known.unit !== row.unit)) return undefined
      numbers[at] = known.id
    }
    return numbers
  }

  /** Makes sure that `get` answers for each of `wanted`, with its unit. */
  async ensure(
    wanted: Iterable<{ readonly device_id: string; readonly point: string; readonly unit: string | null }>,
  ): Promise<void> {
    let missing = this.#missing(wanted)
    if (missing.size === 0) return
    await this.#load([...new Set([...missing.values()].map(({ device_id }) => device_id))])
    missing = this.#missing(missing.values())
    if (missing.size === 0) return
    const { db, dialect } = this.#context
    const fresh = [...missing.values()].filter(({ device_id, point }) => this.get(device_id, point) === undefined)
    const write = async (transaction: RepositoryContext['db']) => {
      for (let at = 0; at < fresh.length; at += CHUNK) {
        const insert = transaction.insertInto('routemq_series').values(fresh.slice(at, at + CHUNK))
        // Another installation may insert the same ones at this moment.
        if (dialect === 'mysql') await insert.onDuplicateKeyUpdate({ point: sql`routemq_series.point` }).execute()
        else await insert.onConflict((conflict) => conflict.doNothing()).execute()
      }
      for (const { device_id, point, unit } of missing.values()) {
        const known = this.get(device_id, point)
        if (known === undefined) continue
        await transaction.updateTable('routemq_series').set({ unit }).where('id', '=', known.id).execute()
      }
    }
    await (db.isTransaction ? write(db) : db.transaction().execute(write))
    await this.#load([...new Set([...missing.values()].map(({ device_id }) => device_id))])
  }

  /** The series a filter asks for, from the database. Rejects with REQUEST_INVALID where they are too many. */
  async find({ device_id, point, block }: Pick<ReadingFilter, 'device_id' | 'point' | 'block'>): Promise<Series[]> {
    if (Array.isArray(point) && point.length === 0) return []
    let query = this.#context.reads
      .selectFrom('routemq_series')
      .selectAll()
      .orderBy('id')
      .limit(MOST_SERIES + 1)
    if (device_id !== undefined) query = query.where('device_id', '=', device_id)
    if (point !== undefined) query = query.where('point', 'in', typeof point === 'string' ? [point] : [...point])
    if (block !== undefined) query = query.where('point', 'like', `${block.register_type}/${block.address}/%`)
    const found = await query.execute()
    if (found.length <= MOST_SERIES) return found
    throw new RouteMQError('REQUEST_INVALID', `That covers more than ${MOST_SERIES} points: name a device or points`, {
      details: { field: device_id === undefined ? 'device_id' : 'point' },
    })
  }

  #missing(wanted: Iterable<{ readonly device_id: string; readonly point: string; readonly unit: string | null }>) {
    const missing = new Map<string, { device_id: string; point: string; unit: string | null }>()
    for (const { device_id, point, unit } of wanted) {
      const known = this.get(device_id, point)
      // A reading without unit (bad quality, raw block) says nothing about the unit.
      if (known !== undefined && (unit === null || known.unit === unit)) continue
      const key = `${device_id}\n${point}`
      if (unit === null && missing.has(key)) continue
      missing.set(key, { device_id, point, unit })
    }
    return missing
  }

  async #load(deviceIds: readonly string[]): Promise<void> {
    for (let at = 0; at < deviceIds.length; at += CHUNK) {
      const rows = await this.#context.db
        .selectFrom('routemq_series')
        .selectAll()
        .where('device_id', 'in', deviceIds.slice(at, at + CHUNK))
        .execute()
      for (const row of rows) {
        const points = this.#known.get(row.device_id) ?? new Map<string, Series>()
        this.#known.set(row.device_id, points.set(row.point, row))
      }
    }
  }
}
