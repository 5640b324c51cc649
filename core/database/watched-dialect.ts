import type { CompiledQuery, DatabaseConnection, Dialect, Driver, QueryResult } from 'kysely'
import { RouteMQError } from '../support/errors.js'
import { isTimeout, type Trouble, troubleOf } from './connection-errors.js'

export interface Watched {
  readonly onTrouble: (trouble: Trouble, error: unknown) => void
  /** A time-out says that too much was asked for, not that the database is away. */
  readonly isReader?: boolean
}

/** Tells of every error that is about the database and not about a statement, and gives it our code. */
export function watchedDialect(dialect: Dialect, { onTrouble, isReader = false }: Watched): Dialect {
  const watch = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      if (isReader && isTimeout(error)) throw tooMuch(error)
      const trouble = troubleOf(error)
      if (trouble === undefined) throw error
      onTrouble(trouble, error)
      throw unavailable(trouble, error)
    })
  return {
    createAdapter: () => dialect.createAdapter(),
    createIntrospector: (db) => dialect.createIntrospector(db),
    createQueryCompiler: () => dialect.createQueryCompiler(),
    createDriver: () => watchedDriver(dialect.createDriver(), watch),
  }
}

type Watch = <T>(work: Promise<T>) => Promise<T>

function watchedDriver(driver: Driver, watch: Watch): Driver {
  const real = new WeakMap<DatabaseConnection, DatabaseConnection>()
  const of = (connection: DatabaseConnection) => real.get(connection) ?? connection
  const savepoints = driver as Required<Driver>
  return {
    init: () => driver.init(),
    destroy: () => driver.destroy(),
    async acquireConnection() {
      const connection = await watch(driver.acquireConnection())
      const watched: DatabaseConnection = {
        executeQuery: <R>(query: CompiledQuery): Promise<QueryResult<R>> => watch(connection.executeQuery<R>(query)),
        streamQuery: (query, chunkSize) => connection.streamQuery(query, chunkSize),
      }
      real.set(watched, connection)
      return watched
    },
    releaseConnection: (connection) => driver.releaseConnection(of(connection)),
    beginTransaction: (connection, settings) => watch(driver.beginTransaction(of(connection), settings)),
    commitTransaction: (connection) => watch(driver.commitTransaction(of(connection))),
    rollbackTransaction: (connection) => watch(driver.rollbackTransaction(of(connection))),
    ...(driver.savepoint && {
      savepoint: (connection, name, compile) => savepoints.savepoint(of(connection), name, compile),
      rollbackToSavepoint: (connection, name, compile) => savepoints.rollbackToSavepoint(of(connection), name, compile),
      releaseSavepoint: (connection, name, compile) => savepoints.releaseSavepoint(of(connection), name, compile),
    }),
  }
}

function unavailable(state: Trouble, error: unknown): RouteMQError {
  if (error instanceof RouteMQError) return error
  return new RouteMQError(
    'DATABASE_UNAVAILABLE',
    `The database is ${state === 'error' ? 'unusable' : 'away'}: ${reasonOf(error)}`,
    {
      details: { state },
      cause: error,
    },
  )
}

function tooMuch(cause: unknown): RouteMQError {
  return new RouteMQError('HISTORY_TIMEOUT', `The database did not find it in time: ${reasonOf(cause)}`, { cause })
}

/** One line, without what drivers add for debugging. AggregateErrors have an empty message of their own. */
export function reasonOf(error: unknown): string {
  const inner = (error as { errors?: unknown[] } | null)?.errors?.[0]
  const text = error instanceof Error ? error.message || (inner === undefined ? '' : reasonOf(inner)) : String(error)
  return text.split('\n')[0]!
}
