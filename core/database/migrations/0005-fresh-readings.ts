import { type Kysely, sql } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

/** On SQLite: readings in the order in which they came, until they are put in their places in `routemq_readings`. */
export const freshReadings: Migration = {
  name: '0005-fresh-readings',
  creates: ['routemq_fresh_readings'],
  async up(db: Kysely<unknown>, { name, withId }: DialectTypes) {
    if (name !== 'sqlite') return
    // Its id is never given twice: what is removed up to an id was there when that was looked up.
    await withId(db.schema.createTable('routemq_fresh_readings'))
      .addColumn('series_id', 'integer', (series) => series.notNull())
      .addColumn('time_us', 'bigint', (time) => time.notNull())
      .addColumn('source_id', 'integer', (source) => source.notNull())
      .addColumn('sequence', 'bigint', (sequence) => sequence.notNull())
      .addColumn('value', 'double precision')
      .addColumn('text_value', 'text')
      .addColumn('kind', 'smallint', (kind) => kind.notNull())
      .addColumn('quality', 'smallint', (quality) => quality.notNull())
      .addColumn('reason', 'varchar(64)')
      .execute()
  },
  async down(db: Kysely<unknown>, { name }: DialectTypes) {
    if (name !== 'sqlite') return
    const columns = sql.raw('series_id, time_us, source_id, sequence, value, text_value, kind, quality, reason')
    await sql`insert into routemq_readings (${columns}) select ${columns} from routemq_fresh_readings where true
      on conflict do nothing`.execute(db)
    await db.schema.dropTable('routemq_fresh_readings').execute()
  },
}
