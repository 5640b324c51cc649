import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../core/support/until.js'
import { DATABASES, listens } from '../e2e/support/databases.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { SERVICES_REQUIRED } from '../e2e/support/services.js'

const MIGRATION = `export const up = (db: any) => db.schema.createTable('recipes').addColumn('id', 'integer').execute()\n`
const env = { ROUTEMQ_DEMO: 'true', LOG_LEVEL: 'warn' }

test('backup while the product runs and polls; restore only where nothing runs, into another database too', async (t) => {
  const project = makeProject({ 'migrations/0001-recipes.ts': MIGRATION })
  const product = await Product.start(project.root, { env })
  t.after(async () => {
    await product.stop()
    project.remove()
  })
  const file = join(project.root, 'plant.backup')
  const command = async (args: readonly string[], more: Record<string, string> = {}) => {
    const result = await runCommand(project.root, [...args, '--json'], { env: { ...env, ...more } })
    return { ...result, facts: result.stdout === '' ? undefined : JSON.parse(result.stdout) }
  }
  const readings = async (from: Product) =>
    ((await (await from.fetch('/api/readings?device_id=office-eng&limit=1000')).json()) as { items: object[] }).items
  assert.equal((await product.post('/api/devices/office-eng/registers/write', { address: 10, value: 77 })).status, 200)
  await until(async () => (await readings(product)).length >= 5)

  const made = await command(['backup', file])
  assert.equal(made.code, 0, made.stderr)
  assert.deepEqual(made.facts.not_included, ['recipes'])
  assert.match(made.stderr, /application's own tables recipes/)
  assert.equal((await command(['backup', file])).code, 2, 'never over another')
  const elsewhere = await command(['backup', `${file}.2`], { DATABASE_URL: 'sqlite:///other.db' })
  assert.equal(elsewhere.code, 2)
  assert.match(elsewhere.stderr, /the settings of this command name/)
  const early = await command(['restore', file, '--force'])
  assert.equal(early.code, 3)
  assert.match(early.stderr, /ALREADY_RUNNING/)
  assert.equal(await product.stop(), 0)

  const full = await command(['restore', file])
  assert.equal(full.code, 5)
  assert.match(full.stderr, /DATABASE_NOT_EMPTY/)
  const back = await command(['restore', file, '--force'])
  assert.equal(back.code, 0, back.stderr)
  assert.equal(back.facts.rows, made.facts.rows)
  assert.ok(readdirSync(join(project.root, 'data')).some((name) => name.startsWith('routemq.db.before-restore-')))
  writeFileSync(`${file}.bad`, 'nothing of the kind')
  const bad = await command(['restore', `${file}.bad`, '--force'])
  assert.equal(bad.code, 5)
  assert.match(bad.stderr, /BACKUP_INVALID/)

  for (const kind of DATABASES.filter(({ port }) => port !== undefined)) {
    if (!SERVICES_REQUIRED && !(await listens(kind.port!))) {
      console.log(`SKIPPED: restoring into ${kind.name}; nothing listens on port ${kind.port} (1)`)
      continue
    }
    const database = await kind.open(project.root)
    t.after(() => database.remove())
    const there = { DATABASE_URL: database.url }
    const moved = await command(['restore', file], there)
    assert.equal(moved.code, 0, moved.stderr)
    const again = await Product.start(project.root, { env: { ...env, ...there, POLL_ENABLED: 'false' } })
    t.after(() => again.stop())
    const kept = await readings(again)
    assert.ok(kept.length >= 5, kind.name)
    const audit = (await again.json('/api/audit?limit=1000')).body
    assert.match(JSON.stringify(audit), /"after":\{?.*77/, kind.name)
    const restored = (audit.items as { action: string; subject: string; actor: { kind: string } }[]).find(
      ({ action }) => action === 'restore',
    )
    assert.deepEqual([restored?.actor.kind, restored?.subject], ['cli', file], kind.name)
    assert.equal(await again.stop(), 0)
  }
})
