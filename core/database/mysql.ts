import { createRequire } from 'node:module'
import type { MysqlPool, MysqlPoolConnection } from 'kysely'
import type mysql from 'mysql2'
import { cancellable } from './awaited.js'
import type { Login } from './login.js'
import type { ServerOptions } from './postgres.js'
import { exactInteger } from './values.js'

/** What every connection is told first: UTC, strict types, and no gap locks between ingest and retention. */
const SESSION =
  "set session time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', " +
  "tx_isolation = 'READ-COMMITTED'"

/** MySQL or MariaDB connections in UTC, for kysely; `bigint` is a number, beyond 2^53 a bigint. */
export function mysqlPool(options: ServerOptions): MysqlPool {
  const { login } = options
  // Loaded only where it is the database.
  const { createConnection, createPool } = createRequire(import.meta.url)('mysql2') as typeof mysql
  const pool = createPool({
    uri: login.url,
    connectionLimit: options.poolSize,
    connectTimeout: options.connectMs,
    charset: 'utf8mb4',
    timezone: 'Z',
    dateStrings: true,
    supportBigNumbers: true,
    enableKeepAlive: true,
    keepAliveInitialDelay: 10_000,
    typeCast: (field, next) => {
      if (field.type !== 'LONGLONG') return next()
      const text = field.string()
      return text === null ? null : exactInteger(text)
    },
  })
  login.onChange((password) => {
    // The driver reads it with each connection that it makes, and has no other way to give it a new one.
    ;(pool as unknown as { config: { connectionConfig: mysql.ConnectionOptions } }).config.connectionConfig.password =
      password
  })
  pool.on('connection', (connection) => {
    login.letIn(connection)
    const isMaria = /maria/i.test(
      String((connection as { _handshakePacket?: { serverVersion?: string } })._handshakePacket?.serverVersion),
    )
    // The size of a table as it is, not as it was up to a day ago; MariaDB keeps no such figures.
    const session = isMaria
      ? SESSION
      : `${SESSION.replace('tx_isolation', 'transaction_isolation')}, information_schema_stats_expiry = 0`
    const limit = options.serverMs === undefined ? '' : `, ${limitOf(options.serverMs, isMaria)}`
    connection.query(session + limit, (error: unknown) => {
      if (error) options.onBroken(error)
    })
    connection.on('error', options.onBroken)
  })
  const cancel = async (threadId: number, statement: string) => {
    const connection = createConnection({ uri: login.url, connectTimeout: options.connectMs, charset: 'utf8mb4' })
    connection.on('error', () => {})
    const ask = (sql: string, parameters: unknown[]) =>
      new Promise<unknown[]>((resolve, reject) => {
        connection.query({ sql, timeout: options.connectMs }, parameters, (error, rows) => {
          if (error) reject(error)
          else resolve(rows as unknown[])
        })
      })
    try {
      // A server that was started again counts from the beginning: the number alone may name a stranger.
      const ours = 'select 1 from information_schema.processlist where id = ? and info = ?'
      if ((await ask(ours, [threadId, statement])).length > 0) await ask('kill query ?', [threadId])
    } finally {
      connection.destroy()
    }
  }
  return {
    getConnection: (done) =>
      pool.getConnection((error, connection) => {
        if (error) done(error, undefined as never)
        else done(null, limited(connection, { ...options, cancel }))
      }),
    end: (done) => pool.end(done),
  }
}

/** MariaDB takes seconds, for every statement; MySQL milliseconds, for those that read. */
function limitOf(ms: number, isMaria: boolean): string {
  return isMaria ? `max_statement_time = ${ms / 1e3}` : `max_execution_time = ${ms}`
}

const wrapped = new WeakMap<mysql.PoolConnection, MysqlPoolConnection>()

interface Limits {
  readonly login: Login
  readonly statementMs: number
  readonly cancel: (threadId: number, statement: string) => Promise<void>
}

/** A pooled connection that is thrown away when a statement gets no answer in time, or was cancelled. */
function limited(connection: mysql.PoolConnection, { login, statementMs, cancel }: Limits): MysqlPoolConnection {
  const known = wrapped.get(connection)
  if (known !== undefined) return known
  let dead = false
  const run = (statement: string) =>
    new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        dead = true
        connection.destroy()
        reject(Object.assign(new Error(`No answer within ${statementMs} ms`), { code: 'PROTOCOL_SEQUENCE_TIMEOUT' }))
      }, statementMs)
      connection.query(statement, (error, result) => {
        clearTimeout(limit)
        if ((error as { fatal?: boolean } | null)?.fatal === true) dead = true
        if (error) reject(error)
        else resolve(result)
      })
    })
  const face = {
    query(sql: string, parameters: unknown[], done: (error: unknown, result: never) => void) {
      const statement = connection.format(sql, parameters)
      const end = () => {
        // A cancellation that comes late must not meet another statement.
        dead = true
        return cancel(connection.threadId, statement)
      }
      cancellable(() => run(statement), end).then(
        (result) => done(null, result as never),
        (error: unknown) => done(error, undefined as never),
      )
    },
    release() {
      if (dead || login.isOver(connection)) connection.destroy()
      else connection.release()
    },
  }
  wrapped.set(connection, face as MysqlPoolConnection)
  return face as MysqlPoolConnection
}
