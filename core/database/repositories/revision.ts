import { sql } from 'kysely'
import type { SqliteThread } from '../sqlite/client.js'
import type { RepositoryContext } from './context.js'

/**
 * A text that changes when devices or targets do, by whatever hand: rows edited directly, without `updated_us`, too.
 * The database, or the thread that owns it, computes it.
 */
export class Revision {
  readonly #context: RepositoryContext
  readonly #thread: SqliteThread | undefined

  /** `thread` is that of SQLite; undefined with the other dialects. */
  constructor(context: RepositoryContext, thread: SqliteThread | undefined) {
    this.#context = context
    this.#thread = thread
  }

  async current(): Promise<string> {
    const { db, dialect } = this.#context
    if (dialect === 'postgres') {
      const { rows } = await sql<{ revision: string }>`select
        (select coalesce(md5(string_agg(d::text, '|' order by device_id)), '') from routemq_devices d) || '.' ||
        (select coalesce(md5(string_agg(t::text, '|' order by id)), '') from routemq_targets t) as revision`.execute(db)
      return rows[0]!.revision
    }
    if (dialect === 'mysql') {
      const { rows } = await sql<{ Checksum: unknown }>`checksum table routemq_devices, routemq_targets`.execute(db)
      return rows.map(({ Checksum }) => String(Checksum)).join('.')
    }
    return this.#thread!.digest([
      'select * from routemq_devices order by device_id',
      'select * from routemq_targets order by id',
    ])
  }
}
