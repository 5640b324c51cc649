import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
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
})
