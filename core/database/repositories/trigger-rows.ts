import { type Kysely, sql } from 'kysely'
import type { Store } from '../store.js'
import type { FrameworkTables } from '../tables.js'
import { insertOnce } from './insert-once.js'

export interface TriggerRow {
  /** The installation that polled the target last. */
  readonly owner: string
  /** The last record of the trigger; null while another is being made. */
  readonly record: string | null
}

const nameOf = (id: number) => `trigger/${id}`
const textOf = ({ owner, record }: TriggerRow) => `${owner}\n${record ?? ''}`

/** The last records of triggers, for whichever installation polls their buses next. Entries of `routemq_meta`. */
export class TriggerRows {
  readonly #db: Kysely<FrameworkTables>
  readonly #dialect: Store['dialect']

  constructor({ kysely, dialect }: Pick<Store, 'kysely' | 'dialect'>) {
    this.#db = kysely as Kysely<FrameworkTables>
    this.#dialect = dialect
  }

  async look(ids: readonly number[]): Promise<ReadonlyMap<number, TriggerRow>> {
    const rows = await this.#db.selectFrom('routemq_meta').selectAll().where('name', 'in', ids.map(nameOf)).execute()
    return new Map(
      rows.map(({ name, value }) => {
        const end = value.indexOf('\n')
        return [
          Number(name.slice(nameOf(0).length - 1)),
          { owner: value.slice(0, end), record: value.slice(end + 1) || null },
        ]
      }),
    )
  }

  /** Makes the row this owner's, whoever had it. */
  async claim(id: number, row: TriggerRow): Promise<void> {
    const entry = { name: nameOf(id), value: textOf(row) }
    if (await insertOnce(this.#dialect, this.#db.insertInto('routemq_meta').values(entry))) return
    await this.#db.updateTable('routemq_meta').set(entry).where('name', '=', entry.name).execute()
  }

  /** Changes the row while it is this owner's; one that another has claimed stays. */
  async put(id: number, row: TriggerRow): Promise<void> {
    const own = `${row.owner}\n`
    await this.#db
      .updateTable('routemq_meta')
      .set({ value: textOf(row) })
      .where('name', '=', nameOf(id))
      .where(sql<boolean>`substr(value, 1, ${own.length}) = ${own}`)
      .execute()
  }
}
