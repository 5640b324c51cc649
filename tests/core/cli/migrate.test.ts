import assert from 'node:assert/strict'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { onEachDatabase, openStore, ownDatabase } from '../database/databases.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

onEachDatabase((kind) => {
  test(`${kind}: a migration is made, run, listed and taken back by commands`, async (t) => {
    const root = folder(t)
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const url = own.config.kind === 'sqlite' ? `sqlite:///${own.config.file}` : own.config.url
    const run = async (...args: string[]) => {
      const { code, out, err } = await command(root, args, { DATABASE_URL: url })
      assert.equal(code, 0, err)
      return out
    }
    const tables = async () => {
      const store = await openStore(own.config, { migrate: false })
      const found = (await store.kysely.introspection.getTables()).map(({ name }) => name)
      await store.close()
      return found
    }

    assert.match(await run('make:migration', 'BoilerLog'), /^created migrations\/\d{14}-boiler-log\.ts\n/)
    const [file] = readdirSync(join(root, 'migrations'))
    const name = file!.replace(/\.ts$/, '')
    const status = async () =>
      JSON.parse(await run('migrate:status', '--json')) as Record<string, { appliedAt?: string }[]>
    assert.deepEqual((await status()).app, [{ name }])
    assert.deepEqual(await tables(), [])
    assert.match(await run('migrate'), new RegExp(`ran 0001-initial\n[^]*ran ${name}$`))
    assert.match(await run('migrate'), /^Nothing to do/)
    assert.match((await status()).app![0]!.appliedAt!, /^\d{4}-/)
    assert.ok((await tables()).includes('boiler_log'))
    assert.equal(await run('migrate:rollback'), `took ${name} back`)
    assert.equal(await run('migrate:rollback'), 'There is nothing to take back.')
    assert.ok(!(await tables()).includes('boiler_log'))
    assert.ok((await tables()).includes('routemq_devices'), "the framework's stay")
  })
  test(`${kind}: a migration that fails is named with what the database says of it, and can be mended`, async (t) => {
    const root = folder(t, {
      'migrations/20260101000000-good.ts': migration(
        "await db.schema.createTable('good').addColumn('a', 'integer').execute()",
      ),
      'migrations/20260102000000-bad.ts': migration(
        "await db.schema.alterTable('nowhere').addColumn('a', 'integer').execute()",
      ),
    })
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const env = { DATABASE_URL: own.config.kind === 'sqlite' ? `sqlite:///${own.config.file}` : own.config.url }
    const { code, err } = await command(root, ['migrate'], env)
    assert.equal(code, 3, err)
    assert.match(
      err,
      /DATABASE_SCHEMA: Migration \S*migrations\/20260102000000-bad\.ts failed: .*nowhere.*mend the migration/,
    )
    assert.doesNotMatch(err, /INTERNAL|\n {4}at /)
    const start = openStore(own.config, { appMigrationsDir: join(root, 'migrations') })
    await assert.rejects(start, { code: 'DATABASE_SCHEMA', message: /20260102000000-bad\.ts failed/ })
    // Under another name, because one process loads a file once.
    rmSync(join(root, 'migrations/20260102000000-bad.ts'))
    const mended = migration("await db.selectFrom('good').selectAll().execute()", "throw new Error('too late')")
    writeFileSync(join(root, 'migrations/20260103000000-mended.ts'), mended)
    assert.match((await command(root, ['migrate'], env)).out, /ran 20260103000000-mended$/)
    const back = await command(root, ['migrate:rollback'], env)
    assert.equal(back.code, 3)
    assert.match(back.err, /20260103000000-mended\.ts cannot be taken back: too late/)
  })
})

function migration(up: string, down = ''): string {
  return `export async function up(db) { ${up} }\nexport async function down(db) { ${down} }\n`
}
