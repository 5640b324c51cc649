import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { RouteMQError } from '../../support/errors.js'
import type {
  Commit,
  InsertedRows,
  SqliteFailure,
  SqliteRequest,
  SqliteResponse,
  SqliteResult,
  SqliteStatement,
  SqlValue,
} from './protocol.js'

/** An error of SQLite itself, with its code as the drivers write it: `SQLITE_CONSTRAINT_PRIMARYKEY`. */
export class SqliteError extends Error {
  override readonly name = 'SqliteError'
  readonly code: string

  constructor(failure: SqliteFailure) {
    super(failure.message)
    this.code = failure.code
  }
}

/** Rows pass through and leave nothing behind: 32 MB for young objects, the default, would only be memory. */
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 8 }

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never

/**
 * The thread that owns an SQLite file, as the main thread sees it: requests are answered in the order sent. The thread
 * starts with the first request and again after it broke; what was under way then rejects.
 */
export class SqliteThread {
  readonly #file: string
  #worker: Promise<Worker> | undefined
  #waiting = new Map<number, { resolve: (result: SqliteResult) => void; reject: (error: unknown) => void }>()
  #nextId = 1
  #closed = false

  constructor(file: string) {
    this.#file = file
  }

  query(sql: string, params: readonly unknown[]): Promise<SqliteResult> {
    return this.#ask({ op: 'query', sql, params: params.map(bindable) })
  }

  /** Inserts rows, all or none. The numbers are the thread's from here on. */
  rows(parts: readonly InsertedRows[], commit: Commit): Promise<SqliteResult> {
    return this.#ask({ op: 'rows', parts, commit })
  }

  /** Runs statements that change nothing but readings, all or none. */
  readings(statements: readonly SqliteStatement[]): Promise<SqliteResult> {
    return this.#ask({ op: 'readings', statements })
  }

  /** A text that changes when the rows of these queries do; the rows themselves stay in the thread. */
  async digest(queries: readonly string[]): Promise<string> {
    const { rows } = await this.#ask({ op: 'digest', queries })
    return String(rows[0]!.digest)
  }

  /** Writes a consistent copy of the database to a file that must not exist yet. */
  async backup(file: string): Promise<void> {
    await this.#ask({ op: 'backup', file })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.restart()
  }

  /** Closes the file in an orderly way; the next request opens what is there then. */
  async restart(): Promise<void> {
    const worker = await this.#worker?.catch(() => undefined) // it never opened: nothing to close
    if (worker === undefined) return
    await this.#send(worker, { op: 'close' }).catch(() => undefined) // the thread ends either way
    await worker.terminate()
  }

  async #ask(request: WithoutId<SqliteRequest>): Promise<SqliteResult> {
    if (this.#closed) throw new RouteMQError('DATABASE_UNAVAILABLE', `The database ${this.#file} is closed`)
    this.#worker ??= this.#start().catch((error: unknown) => {
      this.#worker = undefined
      throw error
    })
    return this.#send(await this.#worker, request)
  }

  #send(worker: Worker, request: WithoutId<SqliteRequest>): Promise<SqliteResult> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#waiting.set(id, { resolve, reject })
      worker.ref()
      worker.postMessage(
        { ...request, id },
        request.op === 'rows' ? request.parts.map(({ numbers }) => numbers.buffer) : [],
      )
    })
  }

  async #start(): Promise<Worker> {
    await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 }).catch((error: Error) => {
      throw new SqliteError({ message: error.message, code: 'SQLITE_CANTOPEN' })
    })
    const worker = await startThread(new URL('./thread.js', import.meta.url), { file: this.#file })
    return new Promise((resolve, reject) => {
      const broke = (error: unknown) => {
        reject(error)
        this.#worker = undefined
        for (const { reject: rejectOne } of this.#waiting.values()) rejectOne(error)
        this.#waiting.clear()
      }
      worker.on('error', broke)
      worker.on('exit', () => broke(new SqliteError({ message: 'The SQLite thread ended', code: 'SQLITE_THREAD' })))
      worker.on('message', (response: SqliteResponse) => {
        if (response.id === 0) {
          if (response.ok) return resolve(worker)
          reject(openFailure(response.error, this.#file))
          void worker.terminate()
          return
        }
        const waiting = this.#waiting.get(response.id)
        this.#waiting.delete(response.id)
        // An idle thread does not keep the process alive.
        if (this.#waiting.size === 0) worker.unref()
        if (response.ok && 'result' in response) waiting?.resolve(response.result)
        else if (!response.ok) waiting?.reject(new SqliteError(response.error))
      })
    })
  }
}

/**
 * From the compiled package the thread loads its file as it is. From source, Node.js 20 does not hand the loader of the
 * main thread to workers, and one of their own would take them four times as long to start as what it loads.
 */
async function startThread(url: URL, workerData: object): Promise<Worker> {
  const options = { workerData, resourceLimits: THREAD_LIMITS }
  if (import.meta.url.endsWith('.js')) return new Worker(url, options)
  bundled ??= bundle(url)
  return new Worker(await bundled, { ...options, eval: true, execArgv: [] })
}

let bundled: Promise<string> | undefined

async function bundle(url: URL): Promise<string> {
  const esbuild = await import('esbuild')
  const { outputFiles } = esbuild.buildSync({
    entryPoints: [fileURLToPath(url).replace(/js$/, 'ts')],
    bundle: true,
    platform: 'node',
    define: { 'import.meta.url': JSON.stringify(url.href) },
    write: false,
  })
  return outputFiles[0]!.text
}

function openFailure(failure: SqliteFailure, file: string): Error {
  if (failure.code !== 'DRIVER_MISSING') return new SqliteError(failure)
  return new RouteMQError(
    'DATABASE_DRIVER_MISSING',
    `SQLite needs the package better-sqlite3 or Node.js 22.13 or later, and found neither (${failure.message}). ` +
      'Run `npm install better-sqlite3` (it needs a compiler where no prebuilt binary fits), or set DATABASE_URL to a ' +
      'PostgreSQL or MySQL server, or to `none`.',
    { details: { file } },
  )
}

/** SQLite has neither booleans nor dates: 0 and 1, and ISO 8601 text. */
function bindable(value: unknown): SqlValue {
  if (typeof value === 'boolean') return value ? 1 : 0
  if (value === undefined) return null
  if (value instanceof Date) return value.toISOString()
  return value as SqlValue
}
