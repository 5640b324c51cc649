import { sql } from 'kysely'
import type { RepositoryContext } from '../repositories/context.js'

/** What a row without text takes on SQLite, its share of the pages counted in (measured on `dbstat`). */
const ROW_BYTES = 38

/**
 * Bytes that readings take in the database, with their key. SQLite reads through them for that: about a second a gigabyte,
 * on the connection that serves history.
 */
export async function readingBytes(context: RepositoryContext): Promise<number> {
  const { reads, dialect } = context
  if (dialect === 'sqlite') return (await bytesOfPages(context)) ?? bytesOfRows(context)
  const query =
    dialect === 'postgres'
      ? sql<{ bytes: number }>`select pg_total_relation_size('routemq_readings') as bytes`
      : sql<{ bytes: number }>`select data_length + index_length as bytes from information_schema.tables
          where table_schema = database() and table_name = 'routemq_readings'`
  return Number((await query.execute(reads)).rows[0]?.bytes ?? 0)
}

/** Undefined where the driver was built without `dbstat`, as `node:sqlite` of earlier versions was. */
async function bytesOfPages({ reads }: RepositoryContext): Promise<number | undefined> {
  const { rows } = await sql`select 1 from pragma_module_list where name = 'dbstat'`.execute(reads)
  if (rows.length === 0) return undefined
  const pages = await sql<{ bytes: number | null }>`select sum(pgsize) as bytes from dbstat
    where name in ('routemq_readings', 'routemq_fresh_readings')`.execute(reads)
  return Number(pages.rows[0]?.bytes ?? 0)
}

/** The same from the rows themselves: within a third of it, as pages are not all equally full. */
export async function bytesOfRows({ reads }: RepositoryContext): Promise<number> {
  let bytes = 0
  for (const table of ['routemq_readings', 'routemq_fresh_readings'] as const) {
    const { rows } = await sql<{ bytes: number | null }>`select count(*) * ${sql.lit(ROW_BYTES)}
      + total(length(cast(text_value as blob))) + total(length(reason)) as bytes from ${sql.table(table)}`.execute(
      reads,
    )
    bytes += Number(rows[0]?.bytes ?? 0)
  }
  return bytes
}
