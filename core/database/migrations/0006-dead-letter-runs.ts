import type { Kysely } from 'kysely'
import type { Migration } from './migration.js'

/** Who runs a letter again, and until when nobody else may. MySQL commits each statement by itself: there it is one. */
export const deadLetterRuns: Migration = {
  name: '0006-dead-letter-runs',
  creates: [],
  async up(db: Kysely<unknown>, types) {
    const table = () => db.schema.alterTable('routemq_dead_letters')
    if (types.name === 'sqlite') {
      await table().addColumn('runner', 'varchar(40)').execute()
      await table().addColumn('run_until_us', 'bigint').execute()
      return
    }
    await table().addColumn('runner', 'varchar(40)').addColumn('run_until_us', 'bigint').execute()
  },
  async down(db: Kysely<unknown>, types) {
    const table = () => db.schema.alterTable('routemq_dead_letters')
    if (types.name === 'sqlite') {
      await table().dropColumn('runner').execute()
      await table().dropColumn('run_until_us').execute()
      return
    }
    await table().dropColumn('runner').dropColumn('run_until_us').execute()
  },
}
