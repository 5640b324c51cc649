import { type Kysely, sql } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

const TABLE = 'routemq_dead_letters'

/** The payload beside the record: lists are read without it. Null where an earlier version put it into the record. */
export const deadLetterBody: Migration = {
  name: '0007-dead-letter-body',
  creates: [],
  async up(db: Kysely<unknown>, { text }: DialectTypes) {
    await db.schema.alterTable(TABLE).addColumn('body', text).execute()
  },
  async down(db: Kysely<unknown>) {
    await db.schema.alterTable(TABLE).dropColumn('body').execute()
  },
}

/** Bytes of a letter, which are bounded over all of them. */
export const deadLetterBytes: Migration = {
  name: '0008-dead-letter-bytes',
  creates: [],
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable(TABLE).addColumn('bytes', 'bigint').execute()
  },
  async down(db: Kysely<unknown>) {
    await db.schema.alterTable(TABLE).dropColumn('bytes').execute()
  },
}

/** Their sum is read from the index alone, without the letters. */
export const deadLetterSums: Migration = {
  name: '0009-dead-letter-sums',
  creates: [],
  async up(db: Kysely<unknown>) {
    await sql`update ${sql.table(TABLE)} set bytes = octet_length(record) where bytes is null`.execute(db)
    await db.schema.createIndex('routemq_dead_bytes').on(TABLE).columns(['failed_us', 'id', 'bytes']).execute()
  },
  async down(db: Kysely<unknown>, { name }: DialectTypes) {
    const index = db.schema.dropIndex('routemq_dead_bytes')
    await (name === 'mysql' ? index.on(TABLE) : index).execute()
  },
}
