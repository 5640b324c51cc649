import { createHash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { type Engine, type EngineStatement, openEngine } from './engine.js'
import type { InsertedRows, SqliteFailure, SqliteRequest, SqliteResponse, SqliteResult, SqlValue } from './protocol.js'

/** Statements kept prepared; the least recently used goes. */
const STATEMENTS = 256
/** A relaxed transaction is synced when the last sync is longer ago than this. */
const SYNC_EVERY_MS = 1_000
/** Bytes of the log that are worth a checkpoint. */
const LOG_BYTES = 64 * 1024 ** 2
/** Rows of one insert: a statement for each row takes a fifth longer. */
const ROWS_AT_ONCE = 64

const { file } = workerData as { file: string }
const port = parentPort!
const statements = new Map<string, EngineStatement>()
/** Texts of inserts, by what they are made of. */
const inserts = new Map<string, string>()
let lastSync = 0
/** Statements of this connection that may have changed more than readings. */
let writes = 0
/** The last digest, and when it was taken: as long as both counts stay, nothing can have changed. */
let digested:
  | { readonly queries: string; readonly writes: number; readonly others: unknown; readonly text: string }
  | undefined
const nothing: SqliteResult = { rows: [], changes: 0, lastId: 0 }

function open(): Engine {
  const engine = openEngine(file)
  // Must be the first word to a new file. Larger pages cost less of the processor and write more.
  engine.exec('pragma page_size = 4096')
  // Before the first table, or it never takes effect: deleted rows give their space back to the file system.
  engine.exec('pragma auto_vacuum = incremental')
  engine.exec('pragma busy_timeout = 10000')
  engine.exec('pragma journal_mode = wal')
  engine.exec('pragma synchronous = full')
  engine.exec('pragma foreign_keys = on')
  engine.exec('pragma cache_size = -32768')
  engine.exec('pragma temp_store = memory')
  // Between checkpoints: a page that many batches touch is then written back once for all of them.
  const [{ page_size }] = engine.prepare('pragma page_size').all([]) as [{ page_size: bigint }]
  engine.exec(`pragma wal_autocheckpoint = ${LOG_BYTES / Number(page_size)}`)
  engine.exec(`pragma journal_size_limit = ${LOG_BYTES}`)
  return engine
}

function prepared(engine: Engine, sql: string): EngineStatement {
  let statement = statements.get(sql)
  if (statement === undefined) statement = engine.prepare(sql)
  else statements.delete(sql)
  statements.set(sql, statement)
  if (statements.size > STATEMENTS) statements.delete(statements.keys().next().value!)
  return statement
}

function query(engine: Engine, sql: string, params: readonly SqlValue[]): SqliteResult {
  if (!/^\s*select\b/i.test(sql)) writes += 1
  if (sql === 'rollback') {
    undo(engine)
    return nothing
  }
  const statement = prepared(engine, sql)
  if (statement.returnsRows) {
    const rows = statement.all(params)
    for (const row of rows) {
      for (const key in row) {
        const value = row[key]
        if (typeof value === 'bigint' && value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) {
          row[key] = Number(value)
        }
      }
    }
    return { rows, changes: rows.length, lastId: 0 }
  }
  const { changes, lastInsertRowid } = statement.run(params)
  return { rows: [], changes: Number(changes), lastId: lastInsertRowid }
}

function rows(engine: Engine, request: SqliteRequest & { op: 'rows' }): SqliteResult {
  const insert = () => insertAll(engine, request.parts)
  return request.commit === 'enclosing' ? insert() : relaxed(engine, insert)
}

function readings(engine: Engine, request: SqliteRequest & { op: 'readings' }): SqliteResult {
  return relaxed(engine, () => {
    const changes = request.statements.map(({ sql, params }) => Number(prepared(engine, sql).run(params).changes))
    return { rows: [], changes: changes.reduce((sum, count) => sum + count, 0), lastId: 0 }
  })
}

/** A transaction that is synced only where the last sync is longer ago. */
function relaxed(engine: Engine, work: () => SqliteResult): SqliteResult {
  const isDue = performance.now() - lastSync >= SYNC_EVERY_MS
  if (!isDue) engine.exec('pragma synchronous = normal')
  try {
    engine.exec('begin immediate')
    try {
      const result = work()
      engine.exec('commit')
      if (isDue) lastSync = performance.now()
      return result
    } catch (error) {
      undo(engine)
      throw error
    }
  } finally {
    if (!isDue) engine.exec('pragma synchronous = full')
  }
}

function insertAll(engine: Engine, parts: readonly InsertedRows[]): SqliteResult {
  const changes = parts.reduce((sum, part) => sum + insertRows(engine, part), 0)
  return { rows: [], changes, lastId: 0 }
}

function insertRows(engine: Engine, part: InsertedRows): number {
  const { width, numbers, others } = part
  const many = ROWS_AT_ONCE * width
  let changes = 0
  for (let at = 0; at < numbers.length; ) {
    const size = numbers.length - at >= many ? many : width
    const values = new Array<SqlValue>(size)
    for (let n = 0; n < size; n++) {
      const value = numbers[at + n]!
      values[n] = others !== undefined && Number.isNaN(value) ? (others.get(at + n) ?? null) : value
    }
    changes += Number(prepared(engine, insertOf(part, size / width)).run(values).changes)
    at += size
  }
  return changes
}

function insertOf({ into, row, after }: InsertedRows, count: number): string {
  const key = `${count} ${row} ${into}`
  let sql = inserts.get(key)
  if (sql === undefined) {
    sql = `${into} values ${new Array(count).fill(row).join(',')} ${after}`
    // Rows name their source: of many lives, as a replay brings them, only the last ones are worth keeping.
    if (inserts.size >= STATEMENTS) inserts.clear()
    inserts.set(key, sql)
  }
  return sql
}

/**
 * Here and not in the main thread: handing over every device and its points would hold up the polling grid. Computed
 * anew only where somebody wrote, here or from another connection.
 */
function digest(engine: Engine, queries: readonly string[]): SqliteResult {
  const asked = queries.join()
  const others = prepared(engine, 'pragma data_version').all([])[0]!.data_version
  if (digested?.queries !== asked || digested.writes !== writes || digested.others !== others) {
    digested = { queries: asked, writes, others, text: computeDigest(engine, queries) }
  }
  return { rows: [{ digest: digested.text }], changes: 0, lastId: 0 }
}

function computeDigest(engine: Engine, queries: readonly string[]): string {
  const hash = createHash('sha1')
  for (const sql of queries) {
    const rows = prepared(engine, sql).all([])
    hash.update(JSON.stringify(rows, (_, value) => (typeof value === 'bigint' ? String(value) : value)))
  }
  return hash.digest('hex')
}

/** SQLite itself rolls back where the disk is full or fails; there is nothing left to undo then, and its reason counts. */
function undo(engine: Engine): void {
  try {
    engine.exec('rollback')
  } catch (error) {
    if (!/no transaction is active/.test(String(error))) throw error
  }
}

function failure(error: unknown): SqliteFailure {
  const { code, message, errcode } = error as { code?: unknown; message?: unknown; errcode?: unknown }
  // node:sqlite reports ERR_SQLITE_ERROR and a number; only the families that are told apart matter.
  const byNumber = typeof errcode === 'number' ? NUMBERED[errcode & 0xff] : undefined
  return { message: String(message ?? error), code: byNumber ?? String(code ?? 'SQLITE_ERROR') }
}

const NUMBERED: Readonly<Record<number, string>> = {
  5: 'SQLITE_BUSY',
  6: 'SQLITE_LOCKED',
  8: 'SQLITE_READONLY',
  10: 'SQLITE_IOERR',
  11: 'SQLITE_CORRUPT',
  13: 'SQLITE_FULL',
  14: 'SQLITE_CANTOPEN',
  18: 'SQLITE_TOOBIG',
  19: 'SQLITE_CONSTRAINT',
  20: 'SQLITE_MISMATCH',
  26: 'SQLITE_NOTADB',
}

const answer = (response: SqliteResponse) => port.postMessage(response)

function handle(engine: Engine, request: SqliteRequest): SqliteResult {
  switch (request.op) {
    case 'query':
      return query(engine, request.sql, request.params)
    case 'rows':
      return rows(engine, request)
    case 'readings':
      return readings(engine, request)
    case 'digest':
      return digest(engine, request.queries)
    case 'backup':
      // A consistent copy without the log; works beside other connections that read and write.
      engine.prepare('vacuum into ?').run([request.file])
      return nothing
    case 'close':
      statements.clear()
      engine.close()
      return nothing
  }
}

try {
  const engine = open()
  answer({ id: 0, ok: true, driver: engine.name })
  port.on('message', (request: SqliteRequest) => {
    try {
      answer({ id: request.id, ok: true, result: handle(engine, request) })
    } catch (error) {
      answer({ id: request.id, ok: false, error: failure(error) })
    }
  })
} catch (error) {
  answer({ id: 0, ok: false, error: failure(error) })
}
