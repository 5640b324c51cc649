import { ERROR_CODES, type ErrorCode } from '../support/error-codes.js'

/** What a script may read from the exit code of a command. `docs/reference/cli.md` lists them. */
export const EXIT = {
  ok: 0,
  /** Something failed that none of the others names. */
  failure: 1,
  /** The command line was wrong: unknown command, flag or argument. */
  usage: 2,
  /** A setting, router, middleware or device file is wrong. */
  configuration: 3,
  /** The command needs the running product, and none runs here. */
  notRunning: 4,
  /** The product, the device or a handler refused: trying the same again changes nothing. */
  refused: 5,
  /** The other side was away, busy or silent: trying again later may work. */
  unavailable: 6,
  /** A write may or may not have been carried out. */
  unknown: 7,
} as const

const CONFIGURATION: ReadonlySet<string> = new Set<ErrorCode>([
  'CONFIG_INVALID',
  'PORT_IN_USE',
  'ALREADY_RUNNING',
  'CLIENT_ID_IN_USE',
  'ROUTER_INVALID',
  'ROUTER_COMMITTED',
  'ROUTE_PATTERN_INVALID',
  'ROUTE_CLASH',
  'MIDDLEWARE_UNKNOWN',
  'DATABASE_SCHEMA',
  'DATABASE_DRIVER_MISSING',
  'WORKER_BOOT_FAILED',
])

export function exitCodeOf(code: ErrorCode): number {
  if (code === 'USAGE') return EXIT.usage
  if (code === 'NOT_RUNNING') return EXIT.notRunning
  if (code === 'WRITE_OUTCOME_UNKNOWN' || code === 'MODBUS_ACKNOWLEDGE') return EXIT.unknown
  if (CONFIGURATION.has(code)) return EXIT.configuration
  if (code === 'INTERNAL' || code === 'HANDLER_FAILED') return EXIT.failure
  const { status } = ERROR_CODES[code]
  if (status === 503 || status === 504 || status === 429) return EXIT.unavailable
  return status >= 400 ? EXIT.refused : EXIT.failure
}
