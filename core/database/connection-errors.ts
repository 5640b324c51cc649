import { RouteMQError } from '../support/errors.js'

const SOCKET = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // a Unix socket that is not there
  'EADDRNOTAVAIL',
])

const MYSQL = new Set([
  'PROTOCOL_CONNECTION_LOST',
  'PROTOCOL_SEQUENCE_TIMEOUT',
  'ER_SERVER_SHUTDOWN',
  'ER_CON_COUNT_ERROR',
  'ER_QUERY_INTERRUPTED',
  'ER_CONNECTION_KILLED',
  'POOL_CLOSED',
])

/** The server answers, but not to us: wrong name, password or database. Worth asking again, and worth telling. */
const REFUSED = new Set([
  '25006', // read-only, as a standby is
  '28000',
  '28P01',
  '3D000',
  'ER_ACCESS_DENIED_ERROR',
  'ER_DBACCESS_DENIED_ERROR',
  'ER_BAD_DB_ERROR',
  'ER_HOST_NOT_PRIVILEGED',
  'ER_DISK_FULL',
  'ER_RECORD_FILE_FULL',
  'ER_ERROR_ON_WRITE',
  'ER_OPTION_PREVENTS_STATEMENT',
  'ER_READ_ONLY_MODE',
  'ER_OPEN_AS_READONLY',
])

/** Another process holds the file, or the thread broke: it passes. */
const SQLITE_AWAY = /^SQLITE_(BUSY|LOCKED|THREAD)/
const SQLITE_UNUSABLE = /^SQLITE_(CANTOPEN|FULL|IOERR|READONLY|CORRUPT|NOTADB|AUTH|PERM)/

export type Trouble =
  /** Cannot be reached, or the connection broke. */
  | 'disconnected'
  /** Reached, and it refuses: credentials, a full or read-only disk, a damaged file. */
  | 'error'

/** What an error of a driver says about the database itself; undefined where it is about the statement. */
export function troubleOf(error: unknown): Trouble | undefined {
  if (error instanceof RouteMQError) {
    return error.code === 'DATABASE_UNAVAILABLE' ? ((error.details?.state as Trouble) ?? 'disconnected') : undefined
  }
  const code = codeOf(error)
  if (code !== undefined) {
    if (SOCKET.has(code) || MYSQL.has(code) || SQLITE_AWAY.test(code)) return 'disconnected'
    // PostgreSQL class 08: connection; 57P: operator intervention; 53: out of resources.
    if (/^(08\w{3}|57P0[1-5]|53300)$/.test(code)) return 'disconnected'
    // 53: out of resources; 58: its system failed; XX001 and XX002: damaged.
    if (REFUSED.has(code) || /^(53[1-4]00|58\w{3}|XX00[12])$/.test(code) || SQLITE_UNUSABLE.test(code)) return 'error'
    return undefined
  }
  return /connection (terminated|timeout|ended)|timeout exceeded when trying to connect|read timeout|Client has encountered a connection error|Client was closed|closed state|driver has already been destroyed|Cannot use a pool after/i.test(
    messageOf(error),
  )
    ? 'disconnected'
    : undefined
}

/** MariaDB and MySQL: the statement took longer than the session allows. */
const MYSQL_STATEMENT_TIME = new Set<unknown>([1969, 3024])

/** True where a statement, or the wait for a connection that is free, took longer than it may. */
export function isTimeout(error: unknown): boolean {
  const code = codeOf(error)
  // 57014: cancelled by the server; it has a limit of its own for statements of the reader.
  if (code === '57014' || code === 'PROTOCOL_SEQUENCE_TIMEOUT') return true
  if (MYSQL_STATEMENT_TIME.has((error as { errno?: unknown } | null)?.errno)) return true
  return code === undefined && /^(Query read timeout|timeout exceeded when trying to connect)$/.test(messageOf(error))
}

/** What the names of MySQL and MariaDB say where their SQLSTATE does not. Too large a packet: of less rows it is none. */
const MYSQL_DATA =
  /^(ER_DATA_(TOO_LONG|OUT_OF_RANGE)|ER_TRUNCATED_|WARN_DATA_TRUNCATED|ER_BAD_NULL_ERROR|ER_DUP_(ENTRY|KEY)|ER_WARN_(DATA_OUT_OF_RANGE|NULL_TO_NOTNULL)|ER_NO_REFERENCED_ROW|ER_ROW_IS_REFERENCED|ER_CHECK_CONSTRAINT_VIOLATED|ER_CONSTRAINT_FAILED|ER_ILLEGAL_VALUE_FOR_TYPE|ER_INVALID_CHARACTER_STRING|ER_NET_PACKET_TOO_LARGE)/

/**
 * True where what was to be written is at fault, so that trying again never helps. Only where that is certain: of anything
 * else (rights, locks, limits, what nobody thought of) what was to be written is kept.
 */
export function isFaultOfRow(error: unknown): boolean {
  if (troubleOf(error) !== undefined) return false
  if (error instanceof RouteMQError) return true
  const code = codeOf(error)
  // Our own code stumbled over the value.
  if (code === undefined) return error instanceof TypeError || error instanceof RangeError
  if (/^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/.test(code)) return true
  // SQLSTATE classes 22 and 23: data and constraints; 54: more than a limit of the program.
  const { sqlState } = error as { sqlState?: unknown }
  return /^(22|23|54)\w{3}$/.test(code) || /^2[23]\w{3}$/.test(String(sqlState)) || MYSQL_DATA.test(code)
}

/** True where a unique key refused a row. */
export function isDuplicate(error: unknown): boolean {
  const code = codeOf(error)
  return (
    code === '23505' ||
    code === 'ER_DUP_ENTRY' ||
    code === 'SQLITE_CONSTRAINT_PRIMARYKEY' ||
    code === 'SQLITE_CONSTRAINT_UNIQUE' ||
    (code === 'SQLITE_CONSTRAINT' && /UNIQUE/.test(String(error)))
  )
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function codeOf(error: unknown): string | undefined {
  const seen = error as { code?: unknown; errors?: unknown[]; cause?: unknown } | null
  if (typeof seen?.code === 'string') return seen.code
  // Happy eyeballs: an AggregateError with one error an address.
  if (Array.isArray(seen?.errors) && seen.errors.length > 0) return codeOf(seen.errors[0])
  return undefined
}
