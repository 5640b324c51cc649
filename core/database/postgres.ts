import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import type { PostgresPool, PostgresPoolClient, PostgresQueryResult } from 'kysely'
import type pg from 'pg'
import { cancellable } from './awaited.js'
import type { Login } from './login.js'
import { CopyRows, copyInto } from './postgres-copy.js'
import { exactInteger } from './values.js'

export interface ServerOptions {
  readonly login: Login
  readonly poolSize: number
  /** Milliseconds until an unanswered connection attempt fails. */
  readonly connectMs: number
  /** Milliseconds until an unanswered statement fails and its connection is thrown away. */
  readonly statementMs: number
  /** Milliseconds after which the server itself gives up a statement. @default never */
  readonly serverMs?: number
  /** A connection that was idle broke. */
  readonly onBroken: (error: unknown) => void
}

const INT8 = 20
const NUMERIC_PARSERS = new Map<number, (text: string) => unknown>([[INT8, exactInteger]])

/** PostgreSQL connections in UTC, for kysely; `int8` is a number, beyond 2^53 a bigint. */
export function postgresPool(options: ServerOptions): PostgresPool {
  const { login } = options
  // Loaded only where it is the database: a driver takes time and memory of every start.
  const { Client: AnyClient, Pool, types } = createRequire(import.meta.url)('pg') as typeof pg
  /** Made with the password of its own time, not with that of its pool's. */
  class Client extends AnyClient {
    constructor(config?: pg.ClientConfig) {
      super({ ...config, connectionString: login.url })
    }
  }
  // Its own for each pool: a cancelling connection knows by it that a process is still a connection of this pool.
  const name = `routemq ${randomUUID()}`
  const settings = {
    connectionTimeoutMillis: options.connectMs,
    query_timeout: options.statementMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    application_name: name,
    options: `-c timezone=UTC${options.serverMs === undefined ? '' : ` -c statement_timeout=${options.serverMs}`}`,
    types: {
      getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
        NUMERIC_PARSERS.get(oid) ?? types.getTypeParser(oid, format as 'text')) as typeof types.getTypeParser,
    },
  }
  const pool = new Pool({ ...settings, max: options.poolSize, Client })
  pool.on('error', options.onBroken)
  // Between the pool's listener and ours there is a moment without any: a server that dies just as it lets us in would end
  // the process. What happened is seen by the next statement.
  pool.on('connect', (client) => {
    client.on('error', () => {})
    login.letIn(client)
  })
  const cancel = async (processId: number) => {
    const client = new Client(settings)
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query(
        'select pg_cancel_backend(pid) from pg_stat_activity where pid = $1 and application_name = $2',
        [processId, name],
      )
    } finally {
      client.end().catch(() => {})
    }
  }
  return {
    connect: async () => new LimitedClient(await pool.connect(), { login, cancel }),
    end: () => pool.end(),
  }
}

interface ClientOptions {
  readonly login: Login
  readonly cancel: (processId: number) => Promise<void>
}

/** A pooled client whose connection is not used again after a statement that got no answer in time. */
class LimitedClient implements PostgresPoolClient {
  readonly #client: pg.PoolClient
  #broken: Error | undefined
  readonly #note = (error: Error) => {
    this.#broken = error
  }

  readonly #login: Login
  readonly #cancel: ClientOptions['cancel']

  constructor(client: pg.PoolClient, { login, cancel }: ClientOptions) {
    this.#client = client
    this.#login = login
    this.#cancel = cancel
    // While it is checked out, the pool does not listen: an unheard error event would end the process.
    client.on('error', this.#note)
  }

  query<R>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<R>>
  query(sql: unknown, parameters?: unknown): never
  query(sql: string, parameters: readonly unknown[]): unknown {
    const cancel = () => {
      // A cancellation that comes late must not meet another statement.
      this.#note(new Error('a statement was cancelled'))
      return this.#cancel((this.#client as unknown as { processID: number }).processID)
    }
    return cancellable(() => this.#run(sql, parameters), cancel).catch((error: Error) => {
      if (error.message === 'Query read timeout' || (error as { code?: string }).code === undefined) this.#note(error)
      throw error
    })
  }

  async #run(sql: string, parameters: readonly unknown[]): Promise<unknown> {
    const [first] = parameters
    if (!(first instanceof CopyRows)) return this.#client.query(sql, [...parameters])
    await copyInto(this.#client, sql, first)
    return { command: 'COPY', rowCount: 0, rows: [] }
  }

  release(): void {
    this.#client.off('error', this.#note)
    this.#client.release(this.#broken ?? this.#login.isOver(this.#client))
  }
}
