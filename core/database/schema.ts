import { rename, rm } from 'node:fs/promises'
import type { Kysely } from 'kysely'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { loadAppMigrations } from './app-migrations.js'
import { troubleOf } from './connection-errors.js'
import type { DialectName } from './dialect.js'
import { makeHypertable } from './hypertable.js'
import { FRAMEWORK_MIGRATIONS } from './migrations/index.js'
import { Migrator } from './migrator.js'
import { pruneCopies } from './sqlite/copies.js'
import type { MigrationReport, MigrationStatus } from './store.js'
import { reasonOf } from './watched-dialect.js'

export interface SchemaOptions {
  readonly kysely: Kysely<unknown>
  readonly dialect: DialectName
  readonly logger: Logger
  readonly clock: Clock
  /** Folder of the application's migrations. */
  readonly appMigrationsDir?: string
  /** Of SQLite: copied before it is migrated. */
  readonly file?: string
  /** Writes a copy of the database into a file. */
  readonly backup: (file: string) => Promise<void>
}

/** The tables of the framework and of the application, brought to what this version knows. */
export class Schema {
  readonly #options: SchemaOptions

  constructor(options: SchemaOptions) {
    this.#options = options
  }

  async migrate(moveReadings: boolean): Promise<MigrationReport> {
    const framework = this.#framework()
    const app = await this.#app()
    const copy = await this.#copyBefore(framework, app)
    const ran = { framework: await framework.up(), app: await app.up() }
    return { ...ran, copy, hypertable: await this.#hypertable(moveReadings) }
  }

  async status(): Promise<MigrationStatus> {
    const app = await this.#app()
    return { framework: await this.#framework().status(), app: await app.status() }
  }

  /** Takes the last migration of the application back; undefined where there is none. */
  async rollback(): Promise<string | undefined> {
    return (await this.#app()).down()
  }

  #framework(): Migrator {
    return this.#migrator('routemq_migrations', FRAMEWORK_MIGRATIONS)
  }

  async #app(): Promise<Migrator> {
    return this.#migrator('routemq_app_migrations', await loadAppMigrations(this.#options.appMigrationsDir))
  }

  #migrator(table: string, steps: ConstructorParameters<typeof Migrator>[0]['steps']): Migrator {
    const { kysely, dialect, clock } = this.#options
    return new Migrator({ db: kysely, dialect, table, steps, now: () => clock.now() })
  }

  /** Where it cannot be made, a plain table serves as well. */
  async #hypertable(moveReadings: boolean): Promise<boolean> {
    const { kysely, dialect, logger } = this.#options
    if (dialect !== 'postgres') return false
    try {
      const outcome = await makeHypertable(kysely, moveReadings)
      if (outcome === 'made') logger.info({}, 'Readings are kept in a hypertable of TimescaleDB')
      if (outcome === 'has_rows') {
        logger.info({}, 'TimescaleDB is there, and readings are in a plain table: `routemq migrate` moves them')
      }
      return outcome === 'made'
    } catch (error) {
      if (troubleOf(error) !== undefined) throw error
      logger.warn({ error: reasonOf(error) }, 'Readings stay in a plain table: TimescaleDB made no hypertable of it')
      return false
    }
  }

  /** A copy of the file beside it, before the first migration of a database that holds something. */
  async #copyBefore(...migrators: readonly Migrator[]): Promise<string | undefined> {
    const { file, backup } = this.#options
    if (file === undefined) return undefined
    const statuses = await Promise.all(migrators.map((migrator) => migrator.status()))
    const holdsSomething = statuses.some((steps) => steps.some(({ appliedAt }) => appliedAt !== undefined))
    const pending = statuses.flatMap((steps) => steps.filter(({ appliedAt }) => appliedAt === undefined))[0]
    if (!holdsSomething || pending === undefined) return undefined
    const copy = `${file}.before-${pending.name}`
    const unfinished = `${copy}.${process.pid}.tmp`
    try {
      await rm(unfinished, { force: true })
      await backup(unfinished)
      // Another process may have migrated meanwhile: then this is a copy of afterwards, and the other's the right one.
      const now = (await Promise.all(migrators.map((migrator) => migrator.status()))).flat()
      if (!now.some(({ name, appliedAt }) => name === pending.name && appliedAt === undefined)) return undefined
      await rename(unfinished, copy)
    } finally {
      await rm(unfinished, { force: true })
    }
    await pruneCopies(file, copy)
    return copy
  }
}
