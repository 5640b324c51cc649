import type { CreateTableBuilder, Kysely } from 'kysely'
import { sql } from 'kysely'

export type DialectName = 'sqlite' | 'postgres' | 'mysql'

/** How one idea is written in each dialect's DDL. */
export interface DialectTypes {
  readonly name: DialectName
  /** An unbounded text column. */
  readonly text: 'text' | ReturnType<typeof sql>
  /** Adds `id`, counted up by the database. */
  withId<T extends string, C extends string>(table: CreateTableBuilder<T, C>): CreateTableBuilder<T, C | 'id'>
  /** What follows the closing bracket of `create table`. Ids are compared byte by byte on every database. */
  finish<T extends string, C extends string>(table: CreateTableBuilder<T, C>): CreateTableBuilder<T, C>
}

export async function dialectTypes(name: DialectName, db: Kysely<unknown>): Promise<DialectTypes> {
  if (name === 'postgres') {
    return {
      name,
      text: 'text',
      withId: (table) => table.addColumn('id', 'bigint', (id) => id.generatedAlwaysAsIdentity().primaryKey()),
      finish: (table) => table,
    }
  }
  if (name === 'sqlite') {
    return {
      name,
      text: 'text',
      withId: (table) => table.addColumn('id', 'integer', (id) => id.primaryKey().autoIncrement()),
      finish: (table) => table,
    }
  }
  const { rows } = await sql<{ version: string }>`select version() as version`.execute(db)
  // Without it `a` equals `A`, and `a` equals `a ` with a space.
  const collation = /maria/i.test(rows[0]?.version ?? '') ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'
  const suffix = sql.raw(`engine = innodb default character set utf8mb4 collate ${collation}`)
  return {
    name,
    text: sql`longtext`,
    withId: (table) => table.addColumn('id', 'bigint', (id) => id.autoIncrement().primaryKey()),
    finish: (table) => table.modifyEnd(suffix),
  }
}
