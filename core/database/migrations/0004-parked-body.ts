import type { Kysely } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

/** The payload beside the record: what waits is read without it. Null where an earlier version put it into the record. */
export const parkedBody: Migration = {
  name: '0004-parked-body',
  creates: [],
  async up(db: Kysely<unknown>, { text }: DialectTypes) {
    await db.schema.alterTable('routemq_parked').addColumn('body', text).execute()
  },
  async down(db: Kysely<unknown>) {
    await db.schema.alterTable('routemq_parked').dropColumn('body').execute()
  },
}
