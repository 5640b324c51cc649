import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Commander } from '../e2e/support/commander.js'
import { Door } from '../e2e/support/late-server.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject, withoutPackage } from '../e2e/support/project.js'
import { missingServers, POSTGRES, SERVICES_REQUIRED, type ServiceSet } from '../e2e/support/services.js'

const BUSY = { ROUTEMQ_DEMO: 'true' }

test('without a database the devices of the application are used and commands work', async (t) => {
  const { product, commander } = await started(t, { ...BUSY, DATABASE_URL: 'none' })
  assert.match(product.output.stdout, /Database\s+none/)
  await writesAndReads(commander)
  const health = await product.json('/health')
  assert.equal(health.status, 200)
  assert.equal((health.body.services as { database: string }).database, 'disabled')
  const readings = await product.json('/api/readings?device_id=office-eng')
  assert.equal(readings.status, 503)
  assert.equal(readings.body.code, 'DATABASE_UNAVAILABLE')
})

test('--workers 0 runs everything in one process', async (t) => {
  const { product, commander } = await started(t, BUSY, ['--workers', '0'])
  await writesAndReads(commander)
  assert.equal((await product.fetch('/ready')).status, 200)
})

test('without an SQLite driver the product starts, says so and how to mend it', async (t) => {
  const { product, commander } = await started(t, BUSY, [], 'better-sqlite3')
  assert.match(product.text, /better-sqlite3/)
  assert.match(product.text, /npm (install|rebuild)|Node\.js 22/)
  await writesAndReads(commander)
})

test('the database away at the start: the file is used, and the database when it comes', async (t) => {
  if (await skipped(t, POSTGRES)) return
  const services = await POSTGRES.open()
  const door = await Door.shut(5432)
  t.after(async () => {
    await door.close()
    await services.remove()
  })
  const url = services.env.DATABASE_URL!.replace(':5432', `:${door.port}`)
  const { product, commander } = await started(t, { ...BUSY, DATABASE_URL: url })
  await writesAndReads(commander)
  const away = await product.json('/health')
  assert.equal(away.status, 503)
  assert.equal((away.body.services as { database: string }).database, 'disconnected')
  await door.open()
  await until(async () => (await product.json('/health')).status === 200, 'health is 200 with the database')
  await until(async () => {
    const devices = await product.json('/api/readings?device_id=office-eng&point=temperature&limit=5')
    return devices.status === 200 && JSON.stringify(devices.body).includes('temperature')
  }, 'readings taken while the database was away or since are in the history')
  await writesAndReads(commander)
  await door.close()
  await until(async () => (await product.json('/health')).status === 503, 'health is 503 without the database')
  await writesAndReads(commander)
})

test('the broker away at the start: the product waits for it, says so, and serves when it comes', async (t) => {
  if (await skipped(t, POSTGRES)) return
  const broker = await startMosquitto()
  const door = await Door.shut(broker.port)
  t.after(async () => {
    await door.close()
    await broker.stop()
  })
  const { root } = project(t)
  const id = `e2e-late-${process.pid}`
  const env = {
    ...BUSY,
    MQTT_BROKER: '127.0.0.1',
    MQTT_PORT: String(door.port),
    MQTT_CLIENT_ID: id,
    MQTT_GROUP_NAME: id,
  }
  const product = Product.spawn(root, { env })
  t.after(() => product.stop())
  await until(
    async () => (await product.fetch('/health').catch(() => undefined))?.status === 503,
    'degraded, and says so',
  )
  assert.equal((await product.fetch('/ready')).status, 503)
  assert.equal((await product.fetch('/live')).status, 200)
  await door.open()
  await product.untilReady()
  const commander = await Commander.connect(broker.url, 5)
  t.after(() => commander.close())
  await writesAndReads(commander)
  await door.close()
  await until(async () => (await product.fetch('/ready')).status === 503, 'not ready while the broker is away')
  await door.open()
  await until(async () => (await product.fetch('/ready')).status === 200, 'ready again')
  await writesAndReads(commander)
  assert.equal(await product.stop(), 0)
})

test('commands without a time survive a killed worker and a short stop: young enough, they are driven', async (t) => {
  if (await skipped(t, POSTGRES)) return
  // Its own: on the shared one other products answer the same commands.
  const broker = await startMosquitto()
  t.after(() => broker.stop())
  const { root } = project(t)
  const id = `e2e-young-${process.pid}`
  const port = String(broker.port)
  const env = { ...BUSY, MQTT_BROKER: '127.0.0.1', MQTT_PORT: port, MQTT_CLIENT_ID: id, MQTT_GROUP_NAME: id }
  const first = await Product.start(root, { env })
  t.after(() => first.stop())
  const commander = await Commander.connect(broker.url, 5)
  t.after(() => commander.close())
  const { body } = await first.json('/api/admin/workers')
  const workers = Object.values(body).flat() as { name: string; pid: number }[]
  const burst = Array.from({ length: 60 }, (_, index) =>
    commander.send(
      'devices/office-eng/write',
      { address: 100 + index, value: index, request_id: `y${index}` },
      120_000,
    ),
  )
  process.kill(workers.find(({ name }) => name === 'slot-1')!.pid, 'SIGKILL')
  const refused = (await Promise.all(burst)).filter(({ error }) => error !== undefined)
  assert.deepEqual(refused, [])
  // The book of sessions has been written at least once since the workers came up.
  await pause(1_500)
  assert.equal(await first.stop(), 0)
  await commander.client.publishAsync('devices/office-eng/write', JSON.stringify({ address: 200, value: 9 }), {
    qos: 1,
  })
  await pause(500)
  const second = await Product.start(root, { env })
  t.after(() => second.stop())
  await until(async () => {
    const read = await second.json('/api/devices/office-eng/registers?address=200')
    return JSON.stringify(read.body.values) === '[9]'
  }, 'the command that waited while the product was stopped is driven')
})

const mistakes: readonly (readonly [
  string,
  { args?: string[]; env?: Record<string, string>; files?: Record<string, string> },
  RegExp[],
])[] = [
  ['a wrong flag', { args: ['--wrokers', '3'] }, [/--wrokers/, /--workers/]],
  ['a wrong setting', { env: { MQTT_PORT: 'banana', LOG_LEVEL: 'loud' } }, [/MQTT_PORT/, /banana/, /LOG_LEVEL/]],
  [
    'a router file that does not load',
    { files: { 'routers/broken.ts': 'export default nothing.at.all\n' } },
    [/routers\/broken\.ts/, /nothing is not defined/],
  ],
  [
    'a router file without a router',
    { files: { 'routers/empty.ts': 'export const x = 1\n' } },
    [/routers\/empty\.ts/, /default/],
  ],
  [
    'a middleware that does not exist',
    {
      files: {
        'routers/odd.ts':
          "import { Router } from 'routemq'\nconst router = new Router()\nrouter.on('odd', () => 1, { middleware: ['lgo'] })\nexport default router\n",
      },
    },
    [/lgo/, /routers\/odd\.ts/],
  ],
  [
    'a device file that is wrong',
    {
      files: {
        'app/devices.ts':
          "import { defineDevices } from 'routemq'\nexport default defineDevices({ devices: [{ device_id: 'a/b', host: '127.0.0.1', port: 0 }] })\n",
      },
    },
    [/device_id/, /port/],
  ],
]
for (const [title, { args = [], env = {}, files = {} }, expected] of mistakes) {
  test(`${title} ends the start with one readable message and a non-zero exit`, async (t) => {
    const { root } = project(t, files)
    const result = await runCommand(root, ['--run', ...args], { env: { ...BUSY, ...env }, timeoutMs: 180_000 })
    const text = result.stdout + result.stderr
    assert.ok(result.code !== 0 && result.code !== null, `exit ${result.code}\n${text}`)
    for (const pattern of expected) assert.match(text, pattern)
    assert.doesNotMatch(text, /^\s+at .*\(.*:\d+:\d+\)/m, 'a sentence, not a stack')
  })
}

test('a second start in the same folder is refused', async (t) => {
  const { product } = await started(t, BUSY)
  const second = await runCommand(product.root, ['--run'], { env: BUSY, timeoutMs: 180_000 })
  assert.notEqual(second.code, 0)
  assert.match(second.stdout + second.stderr, /ALREADY_RUNNING/)
  assert.equal((await product.fetch('/ready')).status, 200, 'and the first goes on')
})

test('a port that was set and is taken ends the start', async (t) => {
  const { product } = await started(t, BUSY)
  const { root } = project(t)
  const port = new URL(product.run.http!.url).port
  const second = await runCommand(root, ['--run'], { env: { ...BUSY, HTTP_PORT: port }, timeoutMs: 180_000 })
  assert.notEqual(second.code, 0)
  assert.match(second.stdout + second.stderr, /PORT_IN_USE/)
  assert.ok((second.stdout + second.stderr).includes(port))
})

function project(t: TestContext, files: Record<string, string> = {}) {
  const made = makeProject(files)
  t.after(() => made.remove())
  return made
}

async function started(t: TestContext, env: Record<string, string>, args: readonly string[] = [], missing?: string) {
  const { root } = project(t)
  const product = await Product.start(root, { env, args, ...(missing !== undefined && withoutPackage(root, missing)) })
  const commander = await Commander.connect(product.run.broker.url, 4)
  t.after(async () => {
    await commander.close()
    assert.equal(await product.stop(), 0, product.text)
  })
  return { product, commander }
}

async function writesAndReads(commander: Commander): Promise<void> {
  const value = Math.floor(Math.random() * 100)
  const written = await commander.send('devices/office-eng/write', {
    address: 10,
    value,
    request_id: `w-${Math.random()}`,
  })
  assert.equal(written.status, 'ok', JSON.stringify(written))
  const read = await commander.send('devices/office-eng/read', { address: 10, request_id: `r-${Math.random()}` })
  assert.deepEqual(read.values, [value], JSON.stringify(read))
}

async function skipped(t: TestContext, set: ServiceSet): Promise<boolean> {
  const missing = await missingServers(set)
  if (missing.length === 0) return false
  assert.ok(!SERVICES_REQUIRED, `missing: ${missing.join(', ')}`)
  console.log(`SKIPPED: ${t.name}; missing: ${missing.join(', ')} (${missing.length})`)
  t.skip(`missing: ${missing.join(', ')}`)
  return true
}
