import { type Kysely, sql } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

/** A point may have a unit of 50 characters; SQLite never minded. */
export const longUnits: Migration = {
  name: '0012-long-units',
  creates: [],
  async up(db: Kysely<unknown>, types: DialectTypes) {
    await length(db, types, 50)
  },
  async down(db: Kysely<unknown>, types: DialectTypes) {
    await sql`update routemq_series set unit = substr(unit, 1, 32) where unit is not null`.execute(db)
    await length(db, types, 32)
  },
}

async function length(db: Kysely<unknown>, { name }: DialectTypes, characters: number): Promise<void> {
  if (name === 'sqlite') return
  const change = sql.raw(name === 'mysql' ? 'modify column unit' : 'alter column unit type')
  await sql`alter table routemq_series ${change} varchar(${sql.lit(characters)})`.execute(db)
}
