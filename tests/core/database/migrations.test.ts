import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { sql } from 'kysely'
import { FRAMEWORK_MIGRATIONS } from '../../../core/database/migrations/index.js'
import { Migrator } from '../../../core/database/migrator.js'
import { openDatabase } from '../../../core/database/open.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { admin, type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'

const UP_WITH_DOWN = `
import { sql } from 'kysely'
export const up = (db) => db.schema.createTable('app_orders').addColumn('id', 'integer', (id) => id.primaryKey()).execute()
export const down = (db) => db.schema.dropTable('app_orders').execute()
`

const TABLE = 'routemq_migrations'
const APP_TABLE = 'routemq_app_migrations'

/** A store that looks for its database keeps no process alive: the test must. */
async function alive<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1_000)
  return promise.finally(() => clearInterval(timer))
}

onEachDatabase((kind) => {
  describe(`migrations on ${kind}`, () => {
    let own: OwnDatabase
    let dir: string
    before(async () => {
      own = await ownDatabase(kind)
      // Inside the project, so that the files find kysely.
      dir = await mkdtemp(join(import.meta.dirname, 'tmp-migrations-'))
    })
    after(async () => {
      await own?.drop()
      await rm(dir, { recursive: true, force: true })
    })

    test('two processes that start on one empty database: one migrates, both run', async () => {
      const outcomes = await Promise.all([1, 2, 3].map(() => startElsewhere(own.config)))
      assert.deepEqual(
        outcomes.map(({ state }) => state),
        ['ok', 'ok', 'ok'],
      )
      assert.equal(outcomes.filter(({ migrated }) => migrated).length, 1)
    })

    test('opening again migrates nothing; status tells what ran', async () => {
      const store = await openStore(own.config)
      assert.deepEqual(await store.migrate(), { framework: [], app: [], copy: undefined, hypertable: false })
      const { framework, app } = await store.migrationStatus()
      assert.deepEqual(
        framework.map(({ name }) => name),
        FRAMEWORK_MIGRATIONS.map(({ name }) => name),
      )
      assert.match(framework[0]!.appliedAt!, /^\d{4}-/)
      assert.deepEqual(app, [])
      await store.close()
    })

    test("the application's migrations run in order, are taken back one by one, and SQLite copies itself before", async () => {
      await writeFile(join(dir, '0001_orders.mjs'), UP_WITH_DOWN)
      await writeFile(join(dir, '0002_none.mjs'), 'export const up = async () => {}\n')
      const store = await openStore(own.config, { appMigrationsDir: dir })
      const { app } = await store.migrationStatus()
      assert.deepEqual(
        app.map(({ name, appliedAt }) => [name, typeof appliedAt]),
        [
          ['0001_orders', 'string'],
          ['0002_none', 'string'],
        ],
      )
      if (own.config.kind === 'sqlite') {
        const files = await readdir(dirname(own.config.file))
        assert.ok(files.includes(`${basename(own.config.file)}.before-0001_orders`), files.join(' '))
      }
      await sql`insert into app_orders (id) values (1)`.execute(store.kysely)
      await assert.rejects(store.rollback(), { code: 'DATABASE_SCHEMA', message: /exports no `down\(db\)`/ })
      await writeFile(join(dir, '0002_none.mjs'), 'export const up = async () => {}\n')
      await store.close()

      await rm(join(dir, '0002_none.mjs'))
      await assert.rejects(openStore(own.config, { appMigrationsDir: dir }), {
        code: 'DATABASE_SCHEMA',
        message: /0002_none/,
      })
      await writeFile(
        join(dir, '0002_none.mjs'),
        'export const up = async () => {}\nexport const down = async () => {}\n',
      )
      // A fresh name in the module cache: the first import of 0002 is remembered by this process.
      const rolledBack = await elsewhere(own.config, 'rollback', dir)
      assert.deepEqual(rolledBack, ['0002_none', '0001_orders', undefined])
      const again = await openStore(own.config)
      await assert.rejects(sql`select * from app_orders`.execute(again.kysely))
      await again.close()
    })

    test('a migration that fails leaves nothing half done, and the next start tries again', async () => {
      const bad = await mkdtemp(join(import.meta.dirname, 'tmp-migrations-'))
      await writeFile(join(bad, '0001_bad.mjs'), 'export const up = async () => { throw new Error("no") }\n')
      await assert.rejects(openStore(own.config, { appMigrationsDir: bad }), /no/)
      const store = await openStore(own.config)
      await store.close()
      await rm(bad, { recursive: true })
    })

    test("the framework's migrations can be taken back to nothing, and run again", async () => {
      const other = await ownDatabase(kind)
      const store = await openStore(other.config)
      try {
        const tables = async () =>
          (await store.kysely.introspection.getTables()).map(({ name }) => name).filter((name) => name !== TABLE)
        const before = await tables()
        const options = { db: store.kysely, dialect: store.dialect, table: TABLE, now: Date.now }
        const migrator = new Migrator({ ...options, steps: FRAMEWORK_MIGRATIONS })
        const names = FRAMEWORK_MIGRATIONS.map(({ name }) => name)
        for (const name of names.toReversed()) assert.equal(await migrator.down(), name)
        assert.equal(await migrator.down(), undefined)
        assert.deepEqual(
          await tables(),
          before.filter((name) => !name.startsWith('routemq_') || name === APP_TABLE),
        )
        assert.deepEqual(
          (await migrator.status()).filter(({ appliedAt }) => appliedAt !== undefined),
          [],
        )
        assert.deepEqual(await migrator.up(), names)
        assert.deepEqual((await tables()).sort(), before.sort())
      } finally {
        await store.close()
        await other.drop()
      }
    })

    test('a step that was interrupted between its statement and its record is finished by the next start', {
      skip: kind !== 'mysql' && 'there both are one transaction',
    }, async () => {
      const other = await ownDatabase(kind)
      try {
        await (await openStore(other.config)).close()
        const raw = await openStore(other.config, { migrate: false })
        // One that cannot run twice, and what follows it.
        const index = '0011-events-by-device'
        const later = FRAMEWORK_MIGRATIONS.map(({ name }) => name).filter((name) => name > index)
        await sql`delete from routemq_migrations where name > ${index}`.execute(raw.kysely)
        await sql`update routemq_migrations set applied_us = 0 where name = ${index}`.execute(raw.kysely)
        const { framework } = await raw.migrate()
        assert.deepEqual(framework, [index, ...later])
        assert.deepEqual((await raw.migrate()).framework, [])
        // A statement that fails for the first time is no finished one.
        await sql`delete from routemq_migrations where name >= ${index}`.execute(raw.kysely)
        await assert.rejects(raw.migrate(), { code: 'DATABASE_SCHEMA', message: /[Dd]uplicate key name/ })
        await raw.close()
      } finally {
        await other.drop()
      }
    })

    test('a database that comes back empty is migrated again', {
      skip: kind !== 'postgres' && 'a session of it outlives its database',
    }, async () => {
      const other = await ownDatabase(kind)
      const name = new URL((other.config as { url: string }).url).pathname.slice(1)
      const store = await openStore(other.config, { checkMs: { there: 20, away: 20 } })
      const becomes = (wanted: string) =>
        new Promise<void>((resolve) => store.onState((state) => state.name === wanted && resolve()))
      try {
        const away = Promise.race([becomes('disconnected'), becomes('error')])
        await other.drop()
        await alive(away)
        const back = becomes('ok')
        await admin('postgres', `create database ${name}`)
        await alive(back)
        assert.deepEqual(await store.devices.list(), [])
      } finally {
        await store.close()
        await other.drop()
      }
    })

    test('a newer schema is refused with an explanation', async () => {
      const store = await openStore(own.config)
      await sql`insert into routemq_migrations (name, applied_us) values ('9999-future', 1)`.execute(store.kysely)
      await store.close()
      await assert.rejects(openStore(own.config), { code: 'DATABASE_SCHEMA', message: /newer version.*9999-future/s })
    })

    test("somebody else's table of the same name is refused, and left alone", async () => {
      const other = await ownDatabase(kind)
      try {
        const raw = await openStore(other.config, { migrate: false })
        await sql`create table routemq_devices (id integer)`.execute(raw.kysely)
        await assert.rejects(openStore(other.config), { code: 'DATABASE_SCHEMA', message: /routemq_devices/ })
        await assert.rejects(sql`select * from routemq_meta`.execute(raw.kysely))
        await sql`drop table routemq_devices`.execute(raw.kysely)
        await sql`drop table if exists routemq_migrations`.execute(raw.kysely)
        await sql`create table routemq_migrations (version integer)`.execute(raw.kysely)
        await assert.rejects(openStore(other.config), { code: 'DATABASE_SCHEMA', message: /not ours/ })
        await raw.close()
      } finally {
        await other.drop()
      }
    })
  })
})

test('of two starters the copy is that of before, whoever made it', async () => {
  const own = await ownDatabase('sqlite')
  const { file } = own.config as { file: string }
  const dir = await mkdtemp(join(import.meta.dirname, 'tmp-migrations-'))
  try {
    const one = await openStore(own.config, { appMigrationsDir: dir })
    const other = await openStore(own.config, { appMigrationsDir: dir })
    await writeFile(join(dir, '0001_raced.mjs'), UP_WITH_DOWN)
    // The other has seen that there is something to do, and the one is done before the other copies.
    const backup = other.backup.bind(other)
    other.backup = async (to) => {
      assert.deepEqual((await one.migrate()).app, ['0001_raced'])
      await backup(to)
    }
    assert.deepEqual(await other.migrate(), { framework: [], app: [], copy: undefined, hypertable: false })
    await Promise.all([one.close(), other.close()])
    const copies = (await readdir(dirname(file))).filter((name) => name.includes('.before-'))
    assert.deepEqual(copies, [`${basename(file)}.before-0001_raced`])
    const copy = await openStore({ kind: 'sqlite', file: join(dirname(file), copies[0]!) }, { migrate: false })
    await assert.rejects(sql`select * from app_orders`.execute(copy.kysely), /no such table/)
    await copy.close()
  } finally {
    await rm(dir, { recursive: true })
    await own.drop()
  }
})

test('of the copies before a migration the oldest go, never the one just made nor those of a restore', async () => {
  const own = await ownDatabase('sqlite')
  const { file } = own.config as { file: string }
  const dir = await mkdtemp(join(import.meta.dirname, 'tmp-migrations-'))
  try {
    await (await openStore(own.config)).close()
    // By name they stand behind the new one; by time the first of them is the oldest.
    const names = ['before-9_a', 'before-9_b', 'before-9_c', 'before-9_d', 'before-restore-1', 'before-restore-2']
    for (const [n, name] of names.entries()) {
      await writeFile(`${file}.${name}`, '')
      await utimes(`${file}.${name}`, 1_000_000 + n, 1_000_000 + n)
    }
    await writeFile(join(dir, '0001_copied.mjs'), 'export const up = async () => {}\n')
    await (await openStore(own.config, { appMigrationsDir: dir })).close()
    const prefix = `${basename(file)}.`
    const copies = (await readdir(dirname(file))).filter((name) => name.startsWith(`${prefix}before-`)).sort()
    assert.deepEqual(
      copies.map((name) => name.slice(prefix.length)),
      ['before-0001_copied', 'before-9_c', 'before-9_d', 'before-restore-1', 'before-restore-2'],
    )
  } finally {
    await rm(dir, { recursive: true })
    await own.drop()
  }
})

test('an SQLite file that is removed while it is open is told, and what comes then goes into a new one', async () => {
  const own = await ownDatabase('sqlite')
  const { file } = own.config as { file: string }
  const errors: string[] = []
  const logger = { ...silentLogger, error: (_: object, sentence?: string) => void errors.push(sentence ?? '') }
  const store = await openStore(own.config, { logger, checkMs: { there: 20, away: 20 } })
  const entry = { actor: { kind: 'app', name: 'x' }, action: 'write', outcome: 'ok' } as const
  try {
    await store.audit.append([entry])
    assert.equal((await store.audit.list()).length, 1)
    const back = new Promise<void>((resolve) => store.onState(({ name }) => name === 'ok' && resolve()))
    await rm(file)
    await alive(back)
    assert.ok(errors.includes('The file was removed or replaced while it was open'), errors.join())
    await store.audit.append([{ ...entry, action: 'later' }])
    const other = await openStore(own.config)
    const seen = async (one: typeof store) => (await one.audit.list()).map(({ action }) => action)
    assert.deepEqual([await seen(store), await seen(other)], [['later'], ['later']])
    await other.close()
  } finally {
    await store.close()
    await own.drop()
  }
})

test('no database is no store', async () => {
  assert.equal(await openDatabase({ kind: 'none' }, { logger: silentLogger, instance: 'x' }), undefined)
})

test('an SQLite file that is not one, and a folder that cannot be, leave a store in trouble that goes on trying', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'routemq-db-'))
  const file = join(dir, 'x.db')
  await writeFile(file, 'this is no database, but long enough to be looked at as if it were one'.repeat(50))
  const store = await openStore({ kind: 'sqlite', file }, { checkMs: { there: 50, away: 50 } })
  assert.equal(store.state.name, 'error')
  await assert.rejects(store.devices.list(), { code: 'DATABASE_UNAVAILABLE' })
  await rm(file)
  const good = new Promise<void>((resolve) => store.onState(({ name }) => name === 'ok' && resolve()))
  await alive(good)
  assert.deepEqual(await store.devices.list(), [])
  await store.close()
  await writeFile(join(dir, 'plain'), '')
  const blocked = await openStore({ kind: 'sqlite', file: join(dir, 'plain', 'x.db') })
  assert.equal(blocked.state.name, 'error')
  await blocked.close()
  await rm(dir, { recursive: true })
})

interface Elsewhere {
  readonly state: string
  readonly migrated: boolean
}

function startElsewhere(config: OwnDatabase['config']): Promise<Elsewhere> {
  return elsewhere(config, 'start') as Promise<Elsewhere>
}

function elsewhere(config: OwnDatabase['config'], what: string, dir?: string): Promise<unknown> {
  const child = fork(new URL('./opener.ts', import.meta.url), [JSON.stringify(config), what, ...(dir ? [dir] : [])], {
    execArgv: ['--import', 'tsx'],
    serialization: 'advanced',
  })
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', (code) => reject(new Error(`the other process ended with ${code}`)))
  })
}
