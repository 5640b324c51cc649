import { stat } from 'node:fs/promises'
import { type Dialect, Kysely, MysqlDialect, PostgresDialect, sql } from 'kysely'
import type { DatabaseConfig } from '../config/config.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { type Trouble, troubleOf } from './connection-errors.js'
import type { DialectName } from './dialect.js'
import { Login } from './login.js'
import { mysqlPool } from './mysql.js'
import type { OpenOptions } from './open.js'
import { postgresPool, type ServerOptions } from './postgres.js'
import { FreshReadings } from './readings/fresh.js'
import { ReadingRepository } from './readings/repository.js'
import type { SqliteReadings } from './readings/writer.js'
import type { RepositoryContext } from './repositories/context.js'
import { DeadLetterRepository } from './repositories/dead-letters.js'
import { DeviceRepository } from './repositories/devices.js'
import { IdempotencyRepository } from './repositories/idempotency.js'
import { KeyRepository } from './repositories/keys.js'
import { LeaseRepository } from './repositories/leases.js'
import { AuditRepository, EventRepository } from './repositories/log-repositories.js'
import { ParkedRepository } from './repositories/parked.js'
import { Revision } from './repositories/revision.js'
import { TargetRepository } from './repositories/targets.js'
import { Schema } from './schema.js'
import { SqliteThread } from './sqlite/client.js'
import { sqliteDialect } from './sqlite/dialect.js'
import type { MigrationReport, MigrationStatus, Store, StoreState, StoreTransaction } from './store.js'
import { type FrameworkTables, OF_THIS_DATABASE } from './tables.js'
import { reasonOf, watchedDialect } from './watched-dialect.js'

type ServerConfig = Exclude<DatabaseConfig, { kind: 'none' }>
type Options = OpenOptions & { readonly clock: Clock }

/** Connections to a server that read history, beside those of the pool. */
const READERS = 2
/** How much longer than the server we wait for its word that a statement took too long, milliseconds. */
const READER_GRACE_MS = 2_000
/** A lease that is not renewed lapses: its connection is given up while there is time to renew it over another. */
const LEASE_STATEMENT_MS = 3_000
/** What is written to see whether a disk has room. */
const TRY_BYTES = 512 * 1024

export class SqlStore implements Store {
  readonly dialect: DialectName
  readonly address: string
  readonly kysely: Kysely<unknown>
  readonly devices: DeviceRepository
  readonly targets: TargetRepository
  readonly readings: ReadingRepository
  readonly events: EventRepository
  readonly audit: AuditRepository
  readonly deadLetters: DeadLetterRepository
  readonly parked: ParkedRepository
  readonly idempotency: IdempotencyRepository
  readonly leases: LeaseRepository
  readonly revision: Revision
  readonly keys: KeyRepository
  readonly #options: Options
  readonly #schema: Schema
  readonly #file: string | undefined
  readonly #thread: SqliteThread | undefined
  readonly #sqlite: SqliteReadings | undefined
  /** Reads history beside what is written. */
  readonly #reader: { readonly kysely: Kysely<unknown>; readonly thread?: SqliteThread } | undefined
  /** Renews leases, whoever keeps the other connections busy. */
  readonly #leasing: Kysely<unknown> | undefined
  /** Of each pool of a server. */
  readonly #logins: Login[] = []
  readonly #listeners = new Set<(state: StoreState) => void>()
  #state: StoreState = { name: 'disconnected', reason: 'not tried yet' }
  /** Of the file that is open; undefined before it is. */
  #inode: number | undefined
  #checking: Promise<void> | undefined
  #cancelCheck: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(config: ServerConfig, options: Options) {
    this.#options = options
    this.dialect = config.kind
    this.address = config.kind === 'sqlite' ? config.file : withoutSecrets(config.url)
    this.#file = config.kind === 'sqlite' ? config.file : undefined
    this.#thread = config.kind === 'sqlite' ? new SqliteThread(config.file) : undefined
    const echo = config.kind !== 'sqlite' && config.echo
    this.kysely = this.#kyselyOf(this.#dialectOf(config, this.#thread), { echo })
    this.#reader = this.#readerOf(config, echo)
    this.#schema = new Schema({
      ...options,
      kysely: this.kysely,
      dialect: this.dialect,
      ...(this.#file !== undefined && this.#file !== ':memory:' && { file: this.#file }),
      backup: (file) => this.backup(file),
    })
    const context = this.#contextOf(this.kysely, this.#reader?.kysely)
    this.devices = new DeviceRepository(context)
    this.targets = new TargetRepository(context)
    this.#sqlite = this.#thread && {
      thread: this.#thread,
      fresh: new FreshReadings(context, this.#thread, options.clock),
    }
    this.readings = new ReadingRepository(context, this.#sqlite)
    this.events = new EventRepository(context)
    this.audit = new AuditRepository(context)
    this.deadLetters = new DeadLetterRepository(context)
    this.parked = new ParkedRepository(context)
    this.idempotency = new IdempotencyRepository(context)
    this.#leasing = this.#leasingOf(config, echo)
    this.leases = new LeaseRepository(this.#contextOf(this.#leasing ?? this.kysely), options.clock)
    this.revision = new Revision(context, this.#thread)
    this.keys = new KeyRepository(context)
  }

  get state(): StoreState {
    return this.#state
  }

  onState(listener: (state: StoreState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The first attempt. Rejects only with what trying again does not mend. */
  async start(): Promise<void> {
    try {
      await this.#connect()
    } catch (error) {
      if (error instanceof RouteMQError && error.code !== 'DATABASE_UNAVAILABLE') throw error
      if (troubleOf(error) === undefined) throw error
      this.#options.logger.warn({ database: this.address, reason: this.#reason() }, 'The database is not usable yet')
    }
    this.#scheduleCheck()
  }

  async ping(): Promise<void> {
    await sql`select 1`.execute(this.kysely)
  }

  migrate({ moveReadings = false } = {}): Promise<MigrationReport> {
    return this.#schema.migrate(moveReadings)
  }

  migrationStatus(): Promise<MigrationStatus> {
    return this.#schema.status()
  }

  rollback(): Promise<string | undefined> {
    return this.#schema.rollback()
  }

  async backup(file: string): Promise<void> {
    if (this.#thread === undefined) {
      throw new RouteMQError('USAGE', `Use the tools of the server for a backup of ${this.dialect}`)
    }
    const thread = this.#thread
    await this.kysely.connection().execute(() => thread.backup(file))
  }

  transaction<T>(work: (within: StoreTransaction) => Promise<T>): Promise<T> {
    return this.kysely.transaction().execute((kysely) => {
      const context = this.#contextOf(kysely, kysely)
      return work({
        dialect: this.dialect,
        kysely,
        devices: new DeviceRepository(context),
        targets: new TargetRepository(context),
        readings: new ReadingRepository(context, this.#sqlite),
        deadLetters: new DeadLetterRepository(context),
        audit: new AuditRepository(context),
      })
    })
  }

  usePassword(config: DatabaseConfig): void {
    if (config.kind !== 'postgres' && config.kind !== 'mysql') return
    for (const login of this.#logins) login.use(config.url)
    // Where it was refused so far, it need not wait for the next look.
    if (this.#state.name !== 'ok') this.#check()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#cancelCheck?.()
    await this.#checking
    await this.#sqlite?.fresh.stop()
    await Promise.all([this.kysely.destroy(), this.#reader?.kysely.destroy(), this.#leasing?.destroy()])
    await Promise.all([this.#thread?.close(), this.#reader?.thread?.close()])
  }

  #kyselyOf(
    dialect: Dialect,
    { echo, isReader = false, isJudge = true }: { echo: boolean; isReader?: boolean; isJudge?: boolean },
  ): Kysely<unknown> {
    const { logger } = this.#options
    const onTrouble = (trouble: Trouble, error: unknown) => isJudge && this.#trouble(trouble, error)
    return new Kysely<unknown>({
      dialect: watchedDialect(dialect, { isReader, onTrouble }),
      ...(echo && {
        log: (event) => logger.info({ sql: event.query.sql, ms: event.queryDurationMillis }, 'SQL'),
      }),
    })
  }

  #readerOf(config: ServerConfig, echo: boolean) {
    if (config.kind !== 'sqlite') {
      const serverMs = this.#statementMs()
      const dialect = this.#dialectOf({ ...config, poolSize: READERS }, undefined, {
        serverMs,
        statementMs: serverMs + READER_GRACE_MS,
      })
      return { kysely: this.#kyselyOf(dialect, { echo, isReader: true }) }
    }
    // A database in memory is that of its one connection.
    if (config.file === ':memory:') return undefined
    const thread = new SqliteThread(config.file)
    return { thread, kysely: this.#kyselyOf(this.#dialectOf(config, thread), { echo, isReader: true }) }
  }

  #leasingOf(config: ServerConfig, echo: boolean): Kysely<unknown> | undefined {
    if (config.kind === 'sqlite') return undefined
    const dialect = this.#dialectOf({ ...config, poolSize: 1 }, undefined, { statementMs: LEASE_STATEMENT_MS })
    // Too slow for leases is not away.
    return this.#kyselyOf(dialect, { echo, isJudge: false })
  }

  #contextOf(db: Kysely<unknown>, reads = db): RepositoryContext {
    const now = () => this.#options.clock.now()
    return {
      db: db as Kysely<FrameworkTables>,
      reads: reads as Kysely<FrameworkTables>,
      dialect: this.dialect,
      historyMs: this.#statementMs(),
      now,
    }
  }

  #statementMs(): number {
    return this.#options.statementMs ?? 15_000
  }

  #dialectOf(config: ServerConfig, thread: SqliteThread | undefined, limits: Partial<ServerOptions> = {}): Dialect {
    if (config.kind === 'sqlite') return sqliteDialect(thread!)
    const options = {
      login: this.#loginOf(config.url),
      poolSize: config.poolSize,
      connectMs: this.#options.connectMs ?? 3_000,
      statementMs: this.#statementMs(),
      onBroken: (error: unknown) => this.#trouble('disconnected', error),
      ...limits,
    }
    return config.kind === 'postgres'
      ? new PostgresDialect({ pool: postgresPool(options) })
      : new MysqlDialect({ pool: mysqlPool(options) })
  }

  #loginOf(url: string): Login {
    const login = new Login(url)
    this.#logins.push(login)
    return login
  }

  async #connect(): Promise<void> {
    await this.#followFile()
    await this.ping()
    this.#inode ??= await this.#inodeNow()
    // Again after each absence: what comes back may be a restored copy, or have been migrated by a newer version.
    if (this.#state.name !== 'ok' && this.#options.migrate !== false) {
      const { framework, app, copy } = await this.migrate()
      if (framework.length + app.length > 0) {
        this.#options.logger.info({ framework, app, copy }, 'The database was migrated')
      }
    }
    if (this.#state.name === 'error' && this.#options.migrate !== false) await this.#tryWriting()
    this.#become({ name: 'ok' })
  }

  /** What is written to a file that was removed or replaced goes nowhere, and nothing fails: it must be looked at. */
  async #followFile(): Promise<void> {
    if (this.#inode === undefined || this.#inode === (await this.#inodeNow())) return
    this.#options.logger.error({ database: this.address }, 'The file was removed or replaced while it was open')
    this.#become({ name: 'disconnected', reason: 'its file was removed or replaced' })
    this.#inode = undefined
    await Promise.all([this.#thread?.restart(), this.#reader?.thread?.restart()])
  }

  async #inodeNow(): Promise<number | undefined> {
    if (this.#file === undefined || this.#file === ':memory:') return undefined
    return stat(this.#file).then(
      ({ ino }) => ino,
      () => undefined,
    )
  }

  /** On a full or read-only disk reading goes on: only what can be written as well is there again. */
  async #tryWriting(): Promise<void> {
    const db = this.kysely as Kysely<FrameworkTables>
    const { dialect } = this
    // As much as a batch of readings takes, or the state would change with every batch.
    for (const value of [' '.repeat(dialect === 'sqlite' ? TRY_BYTES : 1), '']) {
      const insert = db.insertInto('routemq_meta').values({ name: OF_THIS_DATABASE.written, value })
      if (dialect === 'mysql') await insert.onDuplicateKeyUpdate({ value }).execute()
      else await insert.onConflict((conflict) => conflict.column('name').doUpdateSet({ value })).execute()
    }
  }

  #trouble(trouble: Trouble, error: unknown): void {
    if (this.#closing !== undefined) return
    this.#become({ name: trouble, reason: reasonOf(error) })
    this.#scheduleCheck()
  }

  #become(state: StoreState): void {
    const before = this.#state
    this.#state = state
    if (before.name === state.name) return
    if (state.name === 'ok') {
      this.#options.logger.info({ database: this.address }, 'The database is there')
      this.readings.reset()
    } else if (before.name === 'ok') {
      this.#options.logger.error({ database: this.address, reason: state.reason }, 'The database is away')
    }
    for (const listener of this.#listeners) listener(state)
  }

  #reason(): string {
    return this.#state.name === 'ok' ? '' : this.#state.reason
  }

  #scheduleCheck(): void {
    this.#cancelCheck?.()
    if (this.#closing !== undefined) return
    const { there, away } = this.#options.checkMs ?? { there: 5_000, away: 1_000 }
    const ms = this.#state.name === 'ok' ? there : away
    this.#cancelCheck = this.#options.clock.after(ms, () => this.#check(), { unref: true })
  }

  #check(): void {
    this.#checking ??= this.#connect()
      .catch((error: unknown) => {
        // The watched dialect has told already, unless the schema is what is wrong.
        if (troubleOf(error) === undefined) this.#become({ name: 'error', reason: reasonOf(error) })
      })
      .finally(() => {
        this.#checking = undefined
        this.#scheduleCheck()
      })
  }
}

/** A URL that may be shown: no password, no query (it may carry keys). */
function withoutSecrets(url: string): string {
  try {
    const { protocol, host, pathname, username } = new URL(url)
    return `${protocol}//${username === '' ? '' : `${username}@`}${host}${pathname}`
  } catch {
    return 'the database'
  }
}
