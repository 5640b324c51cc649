import { createRequire } from 'node:module'
import type { SqlValue } from './protocol.js'

/** The two drivers of SQLite, as narrow as the thread needs them. Integers are read as bigint. */
export interface Engine {
  readonly name: string
  prepare(sql: string): EngineStatement
  exec(sql: string): void
  close(): void
}

export interface EngineStatement {
  readonly returnsRows: boolean
  all(params: readonly SqlValue[]): Record<string, unknown>[]
  run(params: readonly SqlValue[]): { changes: number | bigint; lastInsertRowid: number | bigint }
}

interface DriverStatement {
  all(...params: SqlValue[]): unknown[]
  run(...params: SqlValue[]): { changes: number | bigint; lastInsertRowid: number | bigint }
}

interface BetterStatement extends DriverStatement {
  readonly reader: boolean
  safeIntegers(on: boolean): this
}

interface NodeStatement extends DriverStatement {
  setReadBigInts(on: boolean): void
}

interface DriverDatabase<S> {
  prepare(sql: string): S
  exec(sql: string): unknown
  close(): unknown
}

/** Why neither driver could be loaded, one reason each. */
export class DriverMissing extends Error {
  readonly code = 'DRIVER_MISSING'
}

const require = createRequire(import.meta.url)

export function openEngine(file: string): Engine {
  const reasons: string[] = []
  const better = attempt<new (file: string) => DriverDatabase<BetterStatement>>('better-sqlite3', reasons)
  if (better !== undefined) {
    let database: DriverDatabase<BetterStatement> | undefined
    try {
      database = new better(file)
    } catch (error) {
      // The native module is loaded only here; one that does not fit this Node.js is as good as missing.
      if (!isLoadFailure(error)) throw error
      reasons.push(`better-sqlite3: ${firstLine(error)}`)
    }
    if (database !== undefined) return betterEngine(database)
  }
  const builtIn = attempt<{ DatabaseSync: new (file: string) => DriverDatabase<NodeStatement> }>('node:sqlite', reasons)
  if (builtIn !== undefined) return nodeEngine(new builtIn.DatabaseSync(file))
  throw new DriverMissing(reasons.join('; '))
}

function attempt<T>(name: string, reasons: string[]): T | undefined {
  try {
    return require(name) as T
  } catch (error) {
    reasons.push(`${name}: ${firstLine(error)}`)
    return undefined
  }
}

function isLoadFailure(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  return (
    code === 'ERR_DLOPEN_FAILED' ||
    code === 'MODULE_NOT_FOUND' ||
    /bindings file|NODE_MODULE_VERSION/.test(message ?? '')
  )
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n')[0]!
}

function betterEngine(database: DriverDatabase<BetterStatement>): Engine {
  return {
    name: 'better-sqlite3',
    prepare(sql) {
      const statement = database.prepare(sql)
      if (statement.reader) statement.safeIntegers(true)
      return {
        returnsRows: statement.reader,
        all: (params) => statement.all(...params) as Record<string, unknown>[],
        run: (params) => statement.run(...params),
      }
    },
    exec: (sql) => void database.exec(sql),
    close: () => void database.close(),
  }
}

const RETURNS_ROWS = /^\s*(select|with|values|pragma|explain)\b|\breturning\b/i

function nodeEngine(database: DriverDatabase<NodeStatement>): Engine {
  return {
    name: 'node:sqlite',
    prepare(sql) {
      const statement = database.prepare(sql)
      statement.setReadBigInts(true)
      return {
        returnsRows: RETURNS_ROWS.test(sql),
        all: (params) => statement.all(...params) as Record<string, unknown>[],
        run: (params) => statement.run(...params),
      }
    },
    exec: (sql) => void database.exec(sql),
    close: () => void database.close(),
  }
}
