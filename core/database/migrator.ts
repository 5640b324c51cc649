import { type Kysely, sql } from 'kysely'
import { RouteMQError } from '../support/errors.js'
import { troubleOf } from './connection-errors.js'
import { type DialectName, type DialectTypes, dialectTypes } from './dialect.js'
import { millisToMicros } from './values.js'

/** What the migrator needs of a step; the framework's and an application's are run by the same code. */
export interface Step {
  readonly name: string
  /** Where it stands, for an application's own. */
  readonly file?: string
  readonly creates?: readonly string[]
  up(db: Kysely<unknown>, types: DialectTypes): Promise<void>
  down(db: Kysely<unknown>, types: DialectTypes): Promise<void>
}

export interface StepStatus {
  readonly name: string
  /** ISO 8601 UTC; undefined while it has not run. */
  readonly appliedAt: string | undefined
}

interface MigrationsTable {
  readonly name: string
  readonly applied_us: number
}

/** `applied_us` of a step that has begun and not ended. */
const BEGUN = 0

type Db = Kysely<Record<string, MigrationsTable>>

export interface MigratorOptions {
  readonly db: Kysely<unknown>
  readonly dialect: DialectName
  /** Where is written which steps have run. */
  readonly table: string
  readonly steps: readonly Step[]
  readonly now: () => number
  /** Milliseconds to wait for another process that migrates. @default 120_000 */
  readonly lockMs?: number
}

/** Runs steps in order of name, each once over all processes that share the database. */
export class Migrator {
  readonly #options: MigratorOptions

  constructor(options: MigratorOptions) {
    const names = options.steps.map(({ name }) => name)
    if (names.some((name, index) => index > 0 && name <= names[index - 1]!)) {
      throw new RouteMQError('DATABASE_SCHEMA', `Migrations must have distinct names in order: ${names.join(', ')}`)
    }
    this.#options = options
  }

  /** Names of the steps that ran. Rejects with DATABASE_SCHEMA where the schema is not one this version can take on. */
  up(): Promise<readonly string[]> {
    return this.#locked(async (db, types) => {
      const applied = await this.#applied(db)
      const missing = this.#options.steps.filter(({ name }) => !applied.has(name))
      const early = missing.find(({ name }) => [...applied.keys()].some((done) => done > name))
      if (early !== undefined) {
        throw new RouteMQError(
          'DATABASE_SCHEMA',
          `Migration ${early.name} sorts before one that has run already; give it a later name`,
        )
      }
      for (const step of missing) {
        const resumed = types.name === 'mysql' && (await this.#clearUnfinished(db, step))
        await this.#refuseForeignTables(db, step)
        await this.#run(db, step, types, resumed)
      }
      return missing.map(({ name }) => name)
    })
  }

  /** Takes the last step back; undefined where none has run. */
  down(): Promise<string | undefined> {
    return this.#locked(async (db, types) => {
      const applied = await this.#applied(db)
      const last = this.#options.steps.findLast(({ name }) => applied.has(name))
      if (last === undefined) return undefined
      await this.#inTransaction(db, async (inner) => {
        await last.down(inner, types).catch((error: unknown) => {
          throw failed(last, 'cannot be taken back', error, types)
        })
        await this.#table(inner).deleteFrom(this.#options.table).where('name', '=', last.name).execute()
      })
      return last.name
    })
  }

  async status(): Promise<readonly StepStatus[]> {
    const { db, steps } = this.#options
    const applied = (await this.#exists(db)) ? await this.#applied(db) : new Map<string, number>()
    return steps.map(({ name }) => {
      const at = applied.get(name)
      return { name, appliedAt: at === undefined ? undefined : new Date(at / 1e3).toISOString() }
    })
  }

  #table(db: Kysely<unknown>): Db {
    return db as Db
  }

  async #exists(db: Kysely<unknown>): Promise<boolean> {
    return (await existingTables(db, this.#options.dialect, [this.#options.table])).length > 0
  }

  async #applied(db: Kysely<unknown>): Promise<Map<string, number>> {
    const { table, steps } = this.#options
    let rows: readonly MigrationsTable[]
    try {
      rows = await this.#table(db)
        .selectFrom(table)
        .select(['name', 'applied_us'])
        .where('applied_us', '<>', BEGUN)
        .execute()
    } catch (error) {
      if (!/column/i.test(String(error))) throw error
      throw new RouteMQError(
        'DATABASE_SCHEMA',
        `The database has a table ${table} that is not ours (${String(error)}). Use another database or schema.`,
        { cause: error },
      )
    }
    const unknown = rows.filter(({ name }) => !steps.some((step) => step.name === name)).map(({ name }) => name)
    if (unknown.length > 0) {
      throw new RouteMQError(
        'DATABASE_SCHEMA',
        `The database was migrated by another, probably newer version: it has ${unknown.sort().join(', ')}, which this ` +
          'one does not know. Run that version, or restore the copy made before migrating.',
        { details: { unknown, table } },
      )
    }
    return new Map(rows.map(({ name, applied_us }) => [name, applied_us]))
  }

  async #refuseForeignTables(db: Kysely<unknown>, { creates, name }: Step): Promise<void> {
    const present = await existingTables(db, this.#options.dialect, creates ?? [])
    if (present.length === 0) return
    throw new RouteMQError(
      'DATABASE_SCHEMA',
      `Migration ${name} makes tables that exist already and are not recorded as ours: ${present.join(', ')}. ` +
        'Use another database or schema, or rename them.',
      { details: { tables: present } },
    )
  }

  async #run(db: Kysely<unknown>, step: Step, types: DialectTypes, resumed: boolean): Promise<void> {
    const { table, now } = this.#options
    // MySQL commits each DDL statement by itself: the row is written first, as "begun", and completed at the end.
    if (types.name === 'mysql') {
      await this.#table(db).insertInto(table).values({ name: step.name, applied_us: BEGUN }).execute()
    }
    await this.#inTransaction(db, async (inner) => {
      await step.up(inner, types).catch((error: unknown) => {
        // Its one statement had ended when the step was interrupted.
        if (!resumed || !isThereAlready(error)) throw failed(step, 'failed', error, types)
      })
      const row = { name: step.name, applied_us: millisToMicros(now()) }
      if (types.name === 'mysql')
        await this.#table(inner).updateTable(table).set(row).where('name', '=', step.name).execute()
      else await this.#table(inner).insertInto(table).values(row).execute()
    })
  }

  /**
   * Removes what a step that was interrupted left behind: only tables of which we know that it made them. True where there
   * was one.
   */
  async #clearUnfinished(db: Kysely<unknown>, step: Step): Promise<boolean> {
    const { table, dialect } = this.#options
    const begun = await this.#table(db)
      .selectFrom(table)
      .select('name')
      .where('name', '=', step.name)
      .executeTakeFirst()
    if (begun === undefined) return false
    for (const left of await existingTables(db, dialect, step.creates ?? [])) await db.schema.dropTable(left).execute()
    await this.#table(db).deleteFrom(table).where('name', '=', step.name).execute()
    return true
  }

  /** On SQLite the lock is a transaction already. */
  #inTransaction(db: Kysely<unknown>, work: (db: Kysely<unknown>) => Promise<void>): Promise<void> {
    return this.#options.dialect === 'postgres' ? db.transaction().execute(work) : work(db)
  }

  async #locked<T>(work: (db: Kysely<unknown>, types: DialectTypes) => Promise<T>): Promise<T> {
    const { db, dialect, lockMs = 120_000 } = this.#options
    return db.connection().execute(async (connection) => {
      const types = await dialectTypes(dialect, connection)
      await lock(connection, dialect, lockMs)
      let outcome: T
      try {
        await this.#makeTable(connection, types)
        outcome = await work(connection, types)
      } catch (error) {
        await unlock(connection, dialect, false).catch(() => undefined) // the first error is the one to tell
        throw error
      }
      await unlock(connection, dialect, true)
      return outcome
    })
  }

  async #makeTable(db: Kysely<unknown>, types: DialectTypes): Promise<void> {
    if (await this.#exists(db)) return
    await types
      .finish(
        db.schema
          .createTable(this.#options.table)
          .addColumn('name', 'varchar(190)', (name) => name.primaryKey())
          .addColumn('applied_us', 'bigint', (applied) => applied.notNull()),
      )
      .execute()
  }
}

/** A mistake in a migration names its file; a database that goes away in the middle of one is no mistake of it. */
function failed({ name, file }: Step, how: string, cause: unknown, { name: dialect }: DialectTypes): unknown {
  if (cause instanceof RouteMQError || troubleOf(cause) !== undefined) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  const left =
    dialect === 'mysql'
      ? 'MySQL and MariaDB keep what ran of it before: take that back by hand'
      : 'Nothing of it stays in the database'
  const details = { migration: name, ...(file !== undefined && { file }) }
  const message = `Migration ${file ?? name} ${how}: ${why}. ${left}; mend the migration, and run it again.`
  return new RouteMQError('DATABASE_SCHEMA', message, { details, cause })
}

/** MySQL's word for a column or an index that is there. */
const isThereAlready = (error: unknown) =>
  ['ER_DUP_FIELDNAME', 'ER_DUP_KEYNAME'].includes(String((error as { code?: unknown } | null)?.code))

const LOCK_NAME = 'routemq_migrations'
/** The same name as a number, for PostgreSQL. */
const LOCK_KEY = 7_204_611_846

/** One migrator at a time over all processes. The lock ends with the connection, so a killed process leaves none. */
async function lock(db: Kysely<unknown>, dialect: DialectName, lockMs: number): Promise<void> {
  if (dialect === 'sqlite') {
    await sql`begin exclusive`.execute(db)
    return
  }
  const until = Date.now() + lockMs
  for (;;) {
    const { rows } =
      dialect === 'postgres'
        ? await sql<{ got: unknown }>`select pg_try_advisory_lock(${sql.lit(LOCK_KEY)}) as got`.execute(db)
        : await sql<{
            got: unknown
          }>`select get_lock(concat(${sql.lit(LOCK_NAME)}, ':', database()), 0) as got`.execute(db)
    if (Number(rows[0]?.got) === 1) return
    if (Date.now() > until) {
      throw new RouteMQError('DATABASE_UNAVAILABLE', `Another process has been migrating for ${lockMs} ms`)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

async function unlock(db: Kysely<unknown>, dialect: DialectName, good: boolean): Promise<void> {
  if (dialect === 'sqlite') await (good ? sql`commit` : sql`rollback`).execute(db)
  else if (dialect === 'postgres') await sql`select pg_advisory_unlock(${sql.lit(LOCK_KEY)})`.execute(db)
  else await sql`select release_lock(concat(${sql.lit(LOCK_NAME)}, ':', database()))`.execute(db)
}

/** Which of `names` are tables or views where ours would be made. */
async function existingTables(
  db: Kysely<unknown>,
  dialect: DialectName,
  names: readonly string[],
): Promise<readonly string[]> {
  if (names.length === 0) return []
  const list = sql.join(names)
  const query =
    dialect === 'sqlite'
      ? sql<{ name: string }>`select name from sqlite_master where name in (${list})`
      : dialect === 'postgres'
        ? sql<{ name: string }>`select table_name as name from information_schema.tables
            where table_schema = current_schema() and table_name in (${list})`
        : sql<{ name: string }>`select table_name as name from information_schema.tables
            where table_schema = database() and table_name in (${list})`
  const { rows } = await query.execute(db)
  return rows.map(({ name }) => name)
}
