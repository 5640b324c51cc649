import type { CompiledQuery, DatabaseConnection, Driver, QueryResult } from 'kysely'
import type { SqliteThread } from './client.js'

/** One connection for kysely: a transaction has it alone, everything else waits its turn. Loads nothing of kysely. */
export class ThreadDriver implements Driver {
  readonly #thread: SqliteThread
  readonly #connection: DatabaseConnection
  #turn: Promise<void> = Promise.resolve()
  #release: (() => void) | undefined

  constructor(thread: SqliteThread) {
    this.#thread = thread
    this.#connection = new ThreadConnection(thread)
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#turn
    let release = () => {}
    this.#turn = new Promise((resolve) => {
      release = resolve
    })
    await before
    this.#release = release
    return this.#connection
  }

  async releaseConnection(): Promise<void> {
    this.#release?.()
  }

  async beginTransaction(): Promise<void> {
    // Not deferred: a transaction that reads first and writes later could meet another process's write and fail.
    await this.#thread.query('begin immediate', [])
  }

  async commitTransaction(): Promise<void> {
    await this.#thread.query('commit', [])
  }

  async rollbackTransaction(): Promise<void> {
    await this.#thread.query('rollback', [])
  }

  /** The thread belongs to who made it, and is closed there. */
  async destroy(): Promise<void> {}
}

class ThreadConnection implements DatabaseConnection {
  readonly #thread: SqliteThread

  constructor(thread: SqliteThread) {
    this.#thread = thread
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, changes, lastId } = await this.#thread.query(query.sql, query.parameters)
    return { rows: rows as R[], numAffectedRows: BigInt(changes), insertId: BigInt(lastId) }
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('Streaming is not available on SQLite: read pages by key instead')
  }
}
