import type { Kysely } from 'kysely'
import type { Migration } from './migration.js'

/** What a device did is asked newest first, within times: without these every entry of all devices is looked at. */
export const auditByDevice = byDevice('0010-audit-by-device', 'routemq_audit')
export const eventsByDevice = byDevice('0011-events-by-device', 'routemq_events')

function byDevice(name: string, table: string): Migration {
  const index = `${table}_device`
  return {
    name,
    creates: [],
    async up(db: Kysely<unknown>) {
      await db.schema.createIndex(index).on(table).columns(['device_id', 'time_us', 'id']).execute()
    },
    async down(db: Kysely<unknown>, types) {
      const dropped = db.schema.dropIndex(index)
      await (types.name === 'mysql' ? dropped.on(table) : dropped).execute()
    },
  }
}
