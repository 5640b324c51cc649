import { randomUUID } from 'node:crypto'
import type { ParkedMessage } from '../../delivery/delivery-store.js'
import { millisToMicros } from '../values.js'
import type { RepositoryContext } from './context.js'
import { insertOnce } from './insert-once.js'

/** Messages taken off their lane to be finished later. `put` resolves when the message is durable. */
export class ParkedRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** Gives the id. A message that is put again under its id changes nothing. */
  async put(message: Omit<ParkedMessage, 'id'>, id: string = randomUUID()): Promise<string> {
    const { db, dialect, now } = this.#context
    const row = {
      parked_id: id,
      route: message.route.slice(0, 255),
      record: JSON.stringify(message),
      parked_us: millisToMicros(now()),
    }
    await insertOnce(dialect, db.insertInto('routemq_parked').values(row))
    return id
  }

  /** In the order of parking, at most `limit`. @default 1,000 */
  async list(limit = 1_000): Promise<ParkedMessage[]> {
    const rows = await this.#context.db
      .selectFrom('routemq_parked')
      .select(['parked_id', 'record'])
      .orderBy('id')
      .limit(limit)
      .execute()
    return rows.map(({ parked_id, record }) => ({ ...(JSON.parse(record) as ParkedMessage), id: parked_id }))
  }

  /** False where it was gone already. */
  async remove(id: string): Promise<boolean> {
    const result = await this.#context.db.deleteFrom('routemq_parked').where('parked_id', '=', id).executeTakeFirst()
    return result.numDeletedRows > 0n
  }

  async count(): Promise<number> {
    const { count } = await this.#context.db
      .selectFrom('routemq_parked')
      .select(({ fn }) => fn.countAll<number | bigint>().as('count'))
      .executeTakeFirstOrThrow()
    return Number(count)
  }
}
