import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { ownServer } from '../core/database/own-servers.js'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { BuiltPackage } from './support/field-package.js'
import { HEAP_PROBE, type ProcessFacts, probe, slopeOf } from './support/process-probe.js'
import { FULL, figures, size } from './support/size.js'
import { SoakPlant } from './support/soak-plant.js'
import { until } from './support/waiting.js'

const MINUTES = size(1.25, 30)
/** From here on nothing may grow any more. */
const SETTLED_MINUTES = size(0.5, 10)
/** The first ten minutes meet each disturbance ten times. */
const ROUND_MS = 12_000
const AWAY_MS = 4_000
const NO_ROUTES = `import { Router } from 'routemq'\nexport default new Router()\n`

test(`${MINUTES} minutes with devices, broker and database coming and going: nothing grows, everything comes back`, async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const database = await ownServer('postgres')
  t.after(() => database.remove())
  await database.start()
  const plant = await SoakPlant.start(10)
  t.after(() => plant.close())
  const project = makeProject({
    'app/devices.ts': plant.definitions(500),
    'routers/devices.ts': NO_ROUTES,
    'routers/availability.ts': NO_ROUTES,
    'heap-probe.mjs': HEAP_PROBE,
  })
  t.after(() => project.remove())
  // From source, each module that shows in a stack for the first time has its source map parsed and kept.
  const built = BuiltPackage.make()
  t.after(() => built.remove())
  built.installInto(project.root)
  const heapFile = join(project.root, 'heap')
  const product = await Product.start(project.root, {
    cli: built.cli,
    args: ['--workers', '1'],
    env: {
      MQTT_URL: mosquitto.url,
      MQTT_CLIENT_ID: 'soak',
      HTTP_PORT: '0',
      LOG_LEVEL: 'error',
      DATABASE_URL: database.config.url,
      HEAP_FILE: heapFile,
      NODE_OPTIONS: `--import ${join(project.root, 'heap-probe.mjs')}`,
    },
  })
  t.after(() => product.stop())
  const polling = async () => (await product.json('/api/metrics')).body.polling as Record<string, number>
  /** Every device answers again and readings reach the database. */
  const calm = async (after: string) => {
    const devices = async () => {
      await product.post('/api/metrics/reset', {})
      await pause(1_200)
      const { total_targets_success: ok, total_targets_failed: failed } = await polling()
      return failed === 0 && ok! >= plant.deviceCount
    }
    await until(`every device answers again after ${after}`, devices, 120_000, () => product.text.slice(-2_000))
    const healthy = async () => {
      const { services } = (await product.json('/health')).body as { services: Record<string, string> }
      return services.database === 'ok' && services.mqtt === 'ok'
    }
    await until(`database and broker are back after ${after}`, healthy, 120_000, () => product.text.slice(-2_000))
  }
  const disturbances: readonly { name: string; begin: () => unknown; end: () => unknown }[] = [
    { name: 'the broker away', begin: () => mosquitto.down(), end: () => mosquitto.up() },
    { name: 'half of the endpoints away', begin: () => plant.vanish(), end: () => plant.comeBack() },
    { name: 'the database away', begin: () => database.stop(), end: () => database.start() },
    { name: 'silent units', begin: () => plant.silence(true), end: () => plant.silence(false) },
    { name: 'cut connections', begin: () => plant.cut(true), end: () => plant.cut(false) },
  ]
  await calm('the start')
  const startedAt = performance.now()
  const hours = () => (performance.now() - startedAt) / 3_600_000
  const samples: (ProcessFacts & { hours: number })[] = []
  const look = async () => samples.push({ hours: hours(), ...(await probe(product.child.pid!, heapFile)) })
  await look()
  for (let round = 0; hours() * 60 < MINUTES; round += 1) {
    const endsAt = performance.now() + ROUND_MS
    const { name, begin, end } = disturbances[round % disturbances.length]!
    await begin()
    await pause(AWAY_MS)
    await end()
    await calm(name)
    await pause(Math.max(0, endsAt - performance.now()))
    await look()
  }
  const settled = samples.filter(({ hours }) => hours * 60 >= SETTLED_MINUTES)
  const slope = (of: keyof ProcessFacts) =>
    slopeOf(settled.map((sample) => ({ hours: sample.hours, value: sample[of] })))
  const descriptors = settled.map((sample) => sample.descriptors)
  figures('soak', {
    rounds: samples.length - 1,
    'heap after gc, first settled, MB': settled[0]!.heapMb,
    'last, MB': settled.at(-1)!.heapMb,
    'slope, MB/h': slope('heapMb'),
    'rss, first settled, MB': settled[0]!.rssMb,
    'rss, last, MB': settled.at(-1)!.rssMb,
    'rss slope, MB/h': slope('rssMb'),
    'descriptors, fewest': Math.min(...descriptors),
    most: Math.max(...descriptors),
  })
  const client = new pg.Client({ connectionString: database.config.url })
  await client.connect()
  const { rows } = await client.query(
    'select count(distinct s.device_id) as devices from routemq_readings r join routemq_series s on s.id = r.series_id where r.time_us > $1',
    [String((Date.now() - 20_000) * 1_000)],
  )
  await client.end()
  assert.equal(Number(rows[0].devices), plant.deviceCount, 'every device has fresh readings in the database')
  assert.equal(await product.stop(), 0, product.text)
  // The five kinds of round differ by a socket or two; what leaks leaves one more each round.
  const spread = Math.max(...descriptors) - Math.min(...descriptors)
  assert.ok(spread <= 10, `descriptors ${descriptors}`)
  assert.ok(settled.at(-1)!.heapMb - settled[0]!.heapMb < 16, 'the heap grew')
  if (FULL) assert.ok(slope('heapMb') < 1, `${slope('heapMb')} MB/h`)
})
