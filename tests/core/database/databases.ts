import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import mysql from 'mysql2/promise'
import pg from 'pg'
import type { DatabaseConfig } from '../../../core/config/config.js'
import { type OpenOptions, openDatabase } from '../../../core/database/open.js'
import type { Store } from '../../../core/database/store.js'
import { silentLogger } from '../../../core/observability/logger.js'

const KINDS = ['sqlite', 'postgres', 'mysql'] as const
export type Kind = (typeof KINDS)[number]

/** A database of its own, empty, and how to be rid of it. */
export interface OwnDatabase {
  readonly config: Exclude<DatabaseConfig, { kind: 'none' }>
  drop(): Promise<void>
}

const PG = process.env.ROUTEMQ_TEST_POSTGRES ?? 'postgres://postgres@127.0.0.1:5432'
const MY = process.env.ROUTEMQ_TEST_MYSQL ?? 'mysql://root@127.0.0.1:3306'

export async function ownDatabase(kind: Kind): Promise<OwnDatabase> {
  const name = `routemq_store_${process.pid}_${randomBytes(4).toString('hex')}`
  if (kind === 'sqlite') {
    const dir = await mkdtemp(join(tmpdir(), 'routemq-db-'))
    const drop = () => rm(dir, { recursive: true, force: true })
    return { config: { kind, file: join(dir, 'routemq.db') }, drop }
  }
  const config = { kind, url: `${kind === 'postgres' ? PG : MY}/${name}`, poolSize: 4, echo: false }
  await admin(kind, `create database ${name}`)
  return {
    config,
    drop: () => admin(kind, `drop database ${name}${kind === 'postgres' ? ' with (force)' : ''}`),
  }
}

export async function admin(kind: 'postgres' | 'mysql', statement: string): Promise<void> {
  if (kind === 'postgres') {
    const client = new pg.Client({ connectionString: `${PG}/postgres`, connectionTimeoutMillis: 20_000 })
    await client.connect()
    await client.query(statement).finally(() => client.end())
  } else {
    const connection = await mysql.createConnection({ uri: MY, connectTimeout: 20_000 })
    await connection.query(statement).finally(() => connection.end())
  }
}

export async function openStore(config: DatabaseConfig, options: Partial<OpenOptions> = {}): Promise<Store> {
  const store = await openDatabase(config, { logger: silentLogger, instance: 'test', ...options })
  if (store === undefined) throw new Error('no store')
  return store
}

const missing = new Map<Kind, string>()
for (const kind of ['postgres', 'mysql'] as const) {
  try {
    await admin(kind, 'select 1')
  } catch (error) {
    missing.set(kind, String(error))
  }
}

/** Runs the same tests on each database. A server that is not there is skipped loudly, and fails where it is required. */
export function onEachDatabase(suite: (kind: Kind) => void): void {
  for (const kind of KINDS) onDatabase(kind, suite)
}

/** The same on all of them at the same time: for suites that wait more than they work. */
export function onAllDatabasesAtOnce(what: string, suite: (kind: Kind) => void): void {
  describe(what, { concurrency: true }, () => {
    for (const kind of KINDS) describe(kind, { concurrency: false }, () => onDatabase(kind, suite))
  })
}

function onDatabase(kind: Kind, suite: (kind: Kind) => void): void {
  const reason = missing.get(kind)
  if (reason === undefined) suite(kind)
  else if (process.env.ROUTEMQ_TEST_SERVICES === 'required') {
    test(`${kind} is there`, () => {
      throw new Error(`ROUTEMQ_TEST_SERVICES=required, and ${kind} does not answer: ${reason}`)
    })
  } else {
    console.error(`SKIPPED: all tests on ${kind}: ${reason}`)
    test(`${kind}: everything`, { skip: `${kind} does not answer: ${reason}` }, () => {})
  }
}
