import type { Kysely } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

/** Entries of audit and events have an identity of their own. A migration a table: MySQL commits each statement by itself. */
export const auditOnce = once('0002-audit-once', 'routemq_audit')
export const eventsOnce = once('0003-events-once', 'routemq_events')

function once(name: string, table: string): Migration {
  const index = `${table}_once`
  return {
    name,
    creates: [],
    async up(db: Kysely<unknown>, types: DialectTypes) {
      const altered = db.schema.alterTable(table)
      if (types.name !== 'sqlite') {
        await altered.addColumn('entry_id', 'varchar(40)', (id) => id.unique()).execute()
        return
      }
      await altered.addColumn('entry_id', 'varchar(40)').execute()
      await db.schema.createIndex(index).unique().on(table).column('entry_id').execute()
    },
    async down(db: Kysely<unknown>, types: DialectTypes) {
      if (types.name === 'sqlite') await db.schema.dropIndex(index).execute()
      await db.schema.alterTable(table).dropColumn('entry_id').execute()
    },
  }
}
