import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { openEngine } from '../../core/database/sqlite/engine.js'
import { DATABASES, listens } from '../e2e/support/databases.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { SERVICES_REQUIRED } from '../e2e/support/services.js'

/** As SQLAlchemy made them for NexusBus. */
const tables = (id: string) => [
  `CREATE TABLE devices (id ${id}, device_id VARCHAR(50) UNIQUE NOT NULL, host VARCHAR(100) NOT NULL, port INTEGER NOT NULL,
    slave_id INTEGER NOT NULL, timeout INTEGER NOT NULL, framer VARCHAR(20) NOT NULL, max_retries INTEGER NOT NULL,
    retry_delay FLOAT NOT NULL, is_active BOOLEAN NOT NULL, created_at TIMESTAMP, updated_at TIMESTAMP)`,
  `CREATE TABLE polling_targets (id ${id}, device_id VARCHAR(50) NOT NULL, register_type VARCHAR(20) NOT NULL,
    address INTEGER NOT NULL, count INTEGER NOT NULL, description VARCHAR(200), is_active BOOLEAN NOT NULL)`,
  `INSERT INTO devices (device_id, host, port, slave_id, timeout, framer, max_retries, retry_delay, is_active) VALUES
    ('pump-1', '127.0.0.1', 15020, 3, 5, 'RTU', 2, 0.25, TRUE), ('pump-2', '127.0.0.1', 15020, 4, 10, 'RTU', 5, 0.1, FALSE),
    ('z-clash', '127.0.0.1', 15020, 5, 10, 'SOCKET', 5, 0.1, TRUE), ('office-eng', '10.0.0.9', 502, 1, 10, 'SOCKET', 5, 0.1, TRUE)`,
  `INSERT INTO polling_targets (device_id, register_type, address, count, description, is_active) VALUES
    ('pump-1', 'holding', 100, 10, 'Flow', TRUE), ('pump-1', 'coil', 0, 8, NULL, FALSE), ('office-eng', 'holding', 0, 6, NULL, TRUE)`,
]

for (const kind of DATABASES.filter(({ name }) => name !== 'MariaDB')) {
  test(`a NexusBus database on ${kind.name} comes over, once, with what cannot said`, async (t) => {
    if (kind.port !== undefined && !SERVICES_REQUIRED && !(await listens(kind.port))) {
      console.log(`SKIPPED: ${t.name}; nothing listens on port ${kind.port} (1)`)
      return t.skip(`missing: ${kind.name}`)
    }
    const project = makeProject()
    const theirs =
      kind.port === undefined ? await sqlite(join(project.root, 'nexusbus.db')) : await kind.open(project.root)
    let product: Product | undefined
    t.after(async () => {
      await product?.stop()
      await theirs.remove()
      project.remove()
    })
    for (const statement of tables(kind.port === undefined ? 'INTEGER PRIMARY KEY' : 'SERIAL PRIMARY KEY')) {
      await theirs.run(statement)
    }
    const running = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true' } })
    product = running
    const run = async (...more: string[]) => {
      const result = await runCommand(project.root, ['import', 'nexusbus', theirs.url, '--json', ...more])
      return { ...result, facts: JSON.parse(result.stdout) }
    }
    const checked = await run('--dry-run')
    assert.equal((await running.json('/api/admin/devices/pump-1')).status, 404)
    const first = await run()
    assert.deepEqual([checked.code, first.code], [5, 5], first.stderr)
    assert.deepEqual(checked.facts, { ...first.facts, dry_run: true })
    const { devices, targets } = first.facts
    assert.deepEqual([devices.created, devices.kept, targets.created, targets.kept], [2, 1, 2, 1])
    assert.deepEqual(
      [devices.refused.length, devices.refused[0].what, devices.refused[0].code],
      [1, 'device z-clash', 'BUS_CONFLICT'],
    )
    const { body } = await running.json('/api/admin/devices/pump-1')
    const { slave_id, timeout, framer, max_retries, retry_delay, is_active } = body
    assert.deepEqual([slave_id, timeout, framer, max_retries, retry_delay, is_active], [3, 5, 'RTU', 2, 0.25, true])
    assert.equal((await running.json('/api/admin/devices/pump-2')).body.is_active, false)
    assert.equal((await running.json('/api/admin/devices/office-eng')).body.host, '127.0.0.1', 'what is here stays')
    const polling = (await running.json('/api/admin/polling')).body as unknown as Record<string, unknown>[]
    const flow = polling.find(({ device_id, address }) => device_id === 'pump-1' && address === 100)
    assert.deepEqual([flow?.count, flow?.description, flow?.is_active], [10, 'Flow', true])
    const again = await run()
    assert.deepEqual([again.facts.devices.created, again.facts.targets.created], [0, 0])
    assert.equal(again.facts.targets.kept, 3)
  })
}

test('what is no NexusBus database is refused with its reason, and no file is made', async (t) => {
  const project = makeProject()
  t.after(() => project.remove())
  const none = await runCommand(project.root, ['import', 'nexusbus', 'sqlite:///none.db'])
  assert.deepEqual([none.code, /there is no file .*none\.db/.test(none.stderr)], [6, true], none.stderr)
  const other = await runCommand(project.root, ['import', 'nexusbus', 'mysql://root:hunter2@h/n'])
  assert.equal(other.code, 2)
  assert.ok(!other.stderr.includes('hunter2'))
  assert.equal((await runCommand(project.root, ['import', 'excel', 'x'])).code, 2)
})

async function sqlite(file: string) {
  return {
    url: `sqlite+aiosqlite:///${file}`,
    async run(statement: string) {
      const engine = openEngine(file)
      engine.exec(statement)
      engine.close()
    },
    remove: async () => {},
  }
}
