import { createRequire } from 'node:module'
import type { Dialect, Driver, PostgresDialectConfig } from 'kysely'
import type { DatabaseConfig } from '../config/config.js'
import { RouteMQError } from '../support/errors.js'
import type { AppDatabase } from './app-tables.js'
import { Login } from './login.js'
import { SqliteThread } from './sqlite/client.js'
import { ThreadDriver } from './sqlite/driver.js'
import { watchedDialect } from './watched-dialect.js'

type KyselyModule = typeof import('kysely')

/** Connections of one process to a server: every worker has its own, so few are many. */
const POOL_SIZE = 3
const CONNECT_MS = 3_000
const STATEMENT_MS = 15_000
/** A query under way at the end is not waited for longer. */
const CLOSE_MS = 1_000

/**
 * The application's tables as handlers see them, with connections of their own: a transaction that a handler holds open
 * stands in nobody's way but that of other handlers of its process. Nothing is loaded or connected before the first use.
 */
export class AppConnections {
  readonly #config: DatabaseConfig
  readonly #login: Login | undefined
  #open: { readonly db: AppDatabase; readonly thread: SqliteThread | undefined } | undefined

  constructor(config: DatabaseConfig) {
    this.#config = config
    this.#login = config.kind === 'postgres' || config.kind === 'mysql' ? new Login(config.url) : undefined
  }

  /** Takes a new password of the same server, user and database, for the connections that are made from now on. */
  usePassword(config: DatabaseConfig): void {
    if (config.kind === 'postgres' || config.kind === 'mysql') this.#login?.use(config.url)
  }

  /** Its queries reject with DATABASE_UNAVAILABLE while the database is away, and where there is none. */
  get db(): AppDatabase {
    this.#open ??= open(this.#config, this.#login)
    return this.#open.db
  }

  async close(): Promise<void> {
    if (this.#open === undefined) return
    const { db, thread } = this.#open
    let limit: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      limit = setTimeout(resolve, CLOSE_MS)
    })
    await Promise.race([db.destroy().then(() => thread?.close()), late])
    clearTimeout(limit)
  }
}

const none = async (): Promise<never> => {
  throw new RouteMQError('DATABASE_UNAVAILABLE', 'There is no database for `db`: DATABASE_URL=none.')
}
const NO_DRIVER: Driver = {
  init: none,
  acquireConnection: none,
  releaseConnection: none,
  beginTransaction: none,
  commitTransaction: none,
  rollbackTransaction: none,
  destroy: async () => {},
}

function open(config: DatabaseConfig, login: Login | undefined) {
  // Required, because a getter cannot wait; imported above, every worker would pay for it, most of them for nothing.
  const kysely = createRequire(import.meta.url)('kysely') as KyselyModule
  const thread = config.kind === 'sqlite' ? new SqliteThread(config.file) : undefined
  const dialect = watchedDialect(dialectOf(kysely, config, { thread, login }), { onTrouble: () => {} })
  return { db: new kysely.Kysely<object>({ dialect }) as AppDatabase, thread }
}

interface Ways {
  readonly thread: SqliteThread | undefined
  /** Of a server. */
  readonly login: Login | undefined
}

function dialectOf(kysely: KyselyModule, config: DatabaseConfig, { thread, login }: Ways): Dialect {
  if (config.kind === 'none' || config.kind === 'sqlite' || login === undefined) {
    return {
      createAdapter: () => new kysely.SqliteAdapter(),
      createIntrospector: (db) => new kysely.SqliteIntrospector(db),
      createQueryCompiler: () => new kysely.SqliteQueryCompiler(),
      createDriver: () => (thread === undefined ? NO_DRIVER : new ThreadDriver(thread)),
    }
  }
  const options = {
    login,
    poolSize: Math.min(config.poolSize, POOL_SIZE),
    connectMs: CONNECT_MS,
    statementMs: STATEMENT_MS,
    // The pool drops it; the next query says whether the database is there.
    onBroken: () => {},
  }
  if (config.kind === 'mysql') {
    return new kysely.MysqlDialect({ pool: async () => (await import('./mysql.js')).mysqlPool(options) })
  }
  const pool: PostgresDialectConfig['pool'] = async () => (await import('./postgres.js')).postgresPool(options)
  return new kysely.PostgresDialect({ pool })
}
