import { type Kysely, sql } from 'kysely'

/** Microseconds of a chunk: one is dropped whole when its last reading is over age. */
const CHUNK_US = 86_400_000_000

/**
 * The readings as a hypertable of TimescaleDB, where their table is one. Its key holds the time, as a hypertable asks for,
 * so that inserts are idempotent there as well.
 */
export interface ReadingChunks {
  bytes(): Promise<number>
  /** Ends of the chunks, microseconds, oldest first. */
  ends(): Promise<readonly number[]>
  /** Drops the chunks that lie wholly before, and tells how many. */
  dropBefore(us: number): Promise<number>
}

export async function readingChunks(db: Kysely<unknown>): Promise<ReadingChunks | undefined> {
  const schema = await extensionSchema(db)
  if (schema === undefined || !(await isHypertable(db))) return undefined
  return {
    async bytes() {
      const size = sql.id(schema, 'hypertable_size')
      const { rows } = await sql<{ bytes: number | null }>`select ${size}('routemq_readings') as bytes`.execute(db)
      return Number(rows[0]?.bytes ?? 0)
    },
    async ends() {
      const { rows } = await sql<{ range_end: number }>`
        select range_end_integer as range_end from timescaledb_information.chunks
        where hypertable_schema = current_schema() and hypertable_name = 'routemq_readings'
        order by range_end_integer`.execute(db)
      return rows.map(({ range_end }) => Number(range_end))
    },
    async dropBefore(us) {
      const drop = sql.id(schema, 'drop_chunks')
      const { rows } = await sql`select ${drop}('routemq_readings', older_than => ${us}::bigint)`.execute(db)
      return rows.length
    },
  }
}

/**
 * Makes the table of readings a hypertable, where the extension is in the database and it is not one yet: `made`. One that
 * holds rows is rewritten, which takes its time and keeps everybody out: only with `moveRows`, else `has_rows`.
 */
export async function makeHypertable(db: Kysely<unknown>, moveRows: boolean): Promise<'made' | 'has_rows' | undefined> {
  const schema = await extensionSchema(db)
  if (schema === undefined || (await isHypertable(db))) return undefined
  if (!moveRows) {
    const { rows } = await sql`select 1 from routemq_readings limit 1`.execute(db)
    if (rows.length > 0) return 'has_rows'
  }
  const range = sql`${sql.id(schema, 'by_range')}('time_us', ${sql.lit(CHUNK_US)}::bigint)`
  // Of two processes that come here at once the second finds it made.
  await sql`select ${sql.id(schema, 'create_hypertable')}('routemq_readings', ${range},
    create_default_indexes => false, if_not_exists => true, migrate_data => true)`.execute(db)
  return 'made'
}

/** Where the functions of TimescaleDB 2.13 or later are; undefined without it in this database. */
async function extensionSchema(db: Kysely<unknown>): Promise<string | undefined> {
  const { rows } = await sql<{ name: string }>`
    select n.nspname as name from pg_extension e join pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'timescaledb'
      and exists (select 1 from pg_proc p where p.pronamespace = n.oid and p.proname = 'by_range')`.execute(db)
  return rows[0]?.name
}

async function isHypertable(db: Kysely<unknown>): Promise<boolean> {
  const { rows } = await sql`select 1 from timescaledb_information.hypertables
    where hypertable_schema = current_schema() and hypertable_name = 'routemq_readings'`.execute(db)
  return rows.length > 0
}
