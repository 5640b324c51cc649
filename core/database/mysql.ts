import { createRequire } from 'node:module'
import type { MysqlPool, MysqlPoolConnection } from 'kysely'
import type mysql from 'mysql2'
import type { ServerOptions } from './postgres.js'
import { exactInteger } from './values.js'

/** What every connection is told first: UTC, strict types, and no gap locks between ingest and retention. */
const SESSION =
  "set session time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', " +
  "tx_isolation = 'READ-COMMITTED'"

/** MySQL or MariaDB connections in UTC, for kysely; `bigint` is a number, beyond 2^53 a bigint. */
export function mysqlPool(options: ServerOptions): MysqlPool {
  // Loaded only where it is the database.
  const { createPool } = createRequire(import.meta.url)('mysql2') as typeof mysql
  const pool = createPool({
    uri: options.url,
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
  pool.on('connection', (connection) => {
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
  return {
    getConnection: (done) =>
      pool.getConnection((error, connection) => {
        if (error) done(error, undefined as never)
        else done(null, limited(connection, options.statementMs))
      }),
    end: (done) => pool.end(done),
  }
}

/** MariaDB takes seconds, for every statement; MySQL milliseconds, for those that read. */
function limitOf(ms: number, isMaria: boolean): string {
  return isMaria ? `max_statement_time = ${ms / 1e3}` : `max_execution_time = ${ms}`
}

const wrapped = new WeakMap<mysql.PoolConnection, MysqlPoolConnection>()

/** A pooled connection that is thrown away when a statement gets no answer in time. */
function limited(connection: mysql.PoolConnection, statementMs: number): MysqlPoolConnection {
  const known = wrapped.get(connection)
  if (known !== undefined) return known
  let dead = false
  const face = {
    query(sql: string, parameters: unknown[], done: (error: unknown, result: never) => void) {
      let answered = false
      const limit = setTimeout(() => {
        answered = true
        dead = true
        connection.destroy()
        done(
          Object.assign(new Error(`No answer within ${statementMs} ms`), { code: 'PROTOCOL_SEQUENCE_TIMEOUT' }),
          undefined as never,
        )
      }, statementMs)
      connection.query(sql, parameters, (error, result) => {
        if (answered) return
        clearTimeout(limit)
        if ((error as { fatal?: boolean } | null)?.fatal === true) dead = true
        done(error, result as never)
      })
    },
    release() {
      if (dead) connection.destroy()
      else connection.release()
    },
  }
  wrapped.set(connection, face as MysqlPoolConnection)
  return face as MysqlPoolConnection
}
