import assert from 'node:assert/strict'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Context, Router } from 'routemq'
import { Commander } from '../e2e/support/commander.js'
import { DATABASES, listens } from '../e2e/support/databases.js'
import { Product } from '../e2e/support/product.js'
import { makeProject, REPOSITORY } from '../e2e/support/project.js'
import { SERVICES_REQUIRED } from '../e2e/support/services.js'

const MIGRATION = `import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.createTable('notes').addColumn('id', 'varchar(40)', (id) => id.primaryKey())
    .addColumn('pid', 'integer').execute()
}
`
const TOTALS = `import type { Kysely } from 'kysely'

export async function up(db: Kysely<any>): Promise<void> {
  await db.schema.createTable('totals').addColumn('name', 'varchar(40)', (name) => name.primaryKey())
    .addColumn('number', 'integer', (number) => number.notNull()).execute()
  await db.insertInto('totals').values({ name: 'notes', number: 0 }).execute()
}
`
const ROUTER = `import { sql } from 'kysely'
import { type Inject, Router } from 'routemq'

declare module 'routemq' {
  interface AppTables {
    notes: { id: string; pid: number }
    totals: { name: string; number: number }
  }
}

class Book {
  static readonly inject = ['db'] as const
  readonly #db
  constructor({ db }: Inject<typeof Book.inject>) {
    this.#db = db
  }
  async total() {
    return this.#db.selectFrom('totals').select('number').where('name', '=', 'notes').executeTakeFirstOrThrow()
  }
}

const router = new Router()
const add = { name: 'add', shared: true, workers: 2, concurrency: 4, qos: 1 } as const
router.on('notes/{id}/add', async ({ params, db }) => {
  await db.transaction().execute(async (work) => {
    await work.updateTable('totals').set({ number: sql\`number + 1\` }).where('name', '=', 'notes').execute()
    await work.insertInto('notes').values({ id: params.id, pid: process.pid }).execute()
  })
  return { pid: process.pid }
}, add)
router.on('notes/total', [Book, 'total'])
router.on('notes/broken', async ({ db }) => sql\`select * from no_such_table\`.execute(db))
export default router
`
const HTTP = `import { createApp } from 'routemq'

export default createApp({
  root: new URL('..', import.meta.url),
  http: (fastify, services) => {
    fastify.get('/notes', async () => services.db!.selectFrom('notes').select('id').orderBy('id').execute())
  },
})
`
const COMMANDS = 40

declare module 'routemq' {
  interface AppTables {
    notes: { id: string; pid: number }
  }
}

test('ctx.db knows the columns that the application declared', () => {
  // The compiler is the judge here; nothing is run.
  const read = ({ db }: Context) => db.selectFrom('notes').select(['id', 'pid']).execute()
  // @ts-expect-error: no such column
  const wrong = ({ db }: Context) => db.selectFrom('notes').select('text')
  const typed = async (ctx: Context): Promise<number | undefined> => (await read(ctx))[0]?.pid
  new Router().on('notes/{id}', typed)
  assert.equal(typeof wrong, 'function')
})

function projectWithNotes() {
  const project = makeProject({
    'migrations/0001-notes.ts': MIGRATION,
    'migrations/0002-totals.ts': TOTALS,
    'routers/notes.ts': ROUTER,
    'bootstrap/app.ts': HTTP,
  })
  symlinkSync(join(REPOSITORY, 'node_modules/kysely'), join(project.root, 'node_modules/kysely'))
  return project
}

for (const kind of DATABASES) {
  test(`${kind.name}: handlers in several processes share the application's tables`, async (t) => {
    if (kind.port !== undefined && !SERVICES_REQUIRED && !(await listens(kind.port))) {
      console.log(`SKIPPED: ${t.name}; nothing listens on port ${kind.port} (1)`)
      return t.skip(`missing: ${kind.name}`)
    }
    const project = projectWithNotes()
    const database = await kind.open(project.root)
    const product = await Product.start(project.root, {
      env: { ROUTEMQ_DEMO: 'true', DATABASE_URL: database.url, LOG_LEVEL: 'warn' },
      args: ['--workers', '2'],
    })
    t.after(async () => {
      await product.stop()
      await database.remove()
      project.remove()
    })
    const commander = await Commander.connect(product.run.broker.url, 4)
    t.after(() => commander.close())
    const ids = Array.from({ length: COMMANDS }, (_, n) => `n${String(n).padStart(3, '0')}`)
    const answers = await Promise.all(ids.map((id) => commander.send(`notes/${id}/add`, { request_id: id }, 30_000)))
    assert.deepEqual(
      answers.filter(({ error }) => error !== undefined),
      [],
    )
    const processes = new Set(answers.map(({ pid }) => pid))
    assert.equal(processes.size, 2, 'both workers wrote')
    assert.ok(!processes.has(product.child.pid))
    const total = await commander.send('notes/total', { request_id: 'total' })
    assert.equal(total.number, COMMANDS)
    const kept = (await (await product.fetch('/notes')).json()) as { id: string }[]
    assert.deepEqual(
      kept.map(({ id }) => id),
      ids,
    )
    const broken = await commander.send('notes/broken', { request_id: 'broken' })
    assert.equal((broken.error as { code?: string }).code, 'HANDLER_FAILED')
    assert.equal(await product.stop(), 0, product.text)
  })
}

test('without a database ctx.db says so with a code, and the worker goes on', async (t) => {
  const project = projectWithNotes()
  const product = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true', DATABASE_URL: 'none' } })
  t.after(async () => {
    await product.stop()
    project.remove()
  })
  const commander = await Commander.connect(product.run.broker.url, 4)
  t.after(() => commander.close())
  for (const topic of ['notes/a/add', 'notes/total']) {
    const { error } = await commander.send(topic, { request_id: topic })
    assert.equal((error as { code?: string } | undefined)?.code, 'DATABASE_UNAVAILABLE', topic)
    assert.match(String((error as { message?: string }).message), /DATABASE_URL=none/)
  }
})
