import { randomUUID } from 'node:crypto'
import type { ParkedHead, ParkedMessage } from '../../delivery/delivery-store.js'
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
    const { payload, ...record } = message
    const row = {
      parked_id: id,
      route: message.route.slice(0, 255),
      record: JSON.stringify(record),
      body: payload,
      parked_us: millisToMicros(now()),
    }
    await insertOnce(dialect, db.insertInto('routemq_parked').values(row))
    return id
  }

  /** The oldest, at most `limit`. @default 1,000 */
  async list(limit = 1_000): Promise<readonly ParkedHead[]> {
    return (await this.page(limit)).heads
  }

  /**
   * In the order of parking, without their payloads, at most `limit`, behind an earlier page. A row that cannot be read is
   * left out, and `onDamaged` is told.
   */
  async page(
    limit: number,
    after = 0,
    onDamaged: (id: string, route: string) => void = () => {},
  ): Promise<{ heads: ParkedHead[]; next: number | undefined }> {
    const rows = await this.#context.db
      .selectFrom('routemq_parked')
      .select(['id', 'parked_id', 'route', 'record'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(limit)
      .execute()
    const heads = rows.flatMap(({ parked_id, route, record }) => {
      const found = readRecord(record)
      if (found === undefined) {
        onDamaged(parked_id, route)
        return []
      }
      const { payload: _, ...head } = found
      return [{ ...head, id: parked_id }]
    })
    return { heads, next: rows.length < limit ? undefined : Number(rows.at(-1)!.id) }
  }

  /** With its payload; undefined where it is gone or cannot be read. */
  async get(id: string): Promise<ParkedMessage | undefined> {
    const row = await this.#context.db
      .selectFrom('routemq_parked')
      .select(['record', 'body'])
      .where('parked_id', '=', id)
      .executeTakeFirst()
    const found = row === undefined ? undefined : readRecord(row.record)
    const payload = row?.body ?? found?.payload
    return found === undefined || payload === undefined ? undefined : { ...found, payload, id }
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

/** Earlier versions kept the payload in the record. Undefined where it is no record any more. */
function readRecord(text: string): (Omit<ParkedMessage, 'id' | 'payload'> & { readonly payload?: string }) | undefined {
  try {
    const record: unknown = JSON.parse(text)
    const whole = typeof record === 'object' && record !== null && 'topic' in record && 'route' in record
    return whole ? (record as Omit<ParkedMessage, 'id'>) : undefined
  } catch {
    return undefined
  }
}
