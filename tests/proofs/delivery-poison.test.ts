import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { explain } from './support/explain.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const OTHERS = size(400, 4_000)
const ATTEMPTS = 2
/** Guards against a hang, no more. */
const LIMIT_MS = 120_000

/** Ways for a message to take its process along. */
const ENDS = {
  exit: 'process.exit(7)',
  crash: 'process.abort()',
  memory: "for (const all: string[][] = []; ; ) all.push(new Array(1e6).fill('x'))",
  loop: 'for (;;);',
}

function router(end: string, options: string, attempts = ATTEMPTS): string {
  return `
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('work/{key}/{n:int}', async (ctx) => {
  await sleep(Math.random() * 4)
  if (ctx.params.key === 'poison') {
    saw('poison')
    await sleep(1)
    ${end}
  }
  saw(ctx.params.key + ' ' + ctx.params.n)
}, { name: 'work', qos: 1, attempts: ${attempts}, ${options} })
export default router
`
}

const SETTINGS: Readonly<Record<string, Record<string, string>>> = {
  memory: { NODE_OPTIONS: '--max-old-space-size=128' },
  loop: { ROUTEMQ_WORKER_STALL: '5s' },
}

interface Letter {
  readonly topic: string
  readonly attempts: number
  readonly error: { readonly code: string }
}

async function poisoned(t: TestContext, title: string, end: string, options: string, env: Record<string, string> = {}) {
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: router(end, options),
    workers: 1,
    env: { LOG_LEVEL: 'error', ...env },
  })
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const { witness } = installation
  const others = () => new Set(witness.lines().filter((line) => line !== 'poison')).size
  const poison = () => witness.lines().filter((line) => line === 'poison').length
  const dead = async () => {
    const response = await installation.product.fetch('/api/admin/dead').catch(() => undefined)
    return (await response?.json()) as Letter[]
  }
  const startedAt = performance.now()
  await publisher.flood(OTHERS / 2, (n) => ({ topic: `work/k${n % 9}/${n}`, payload: {} }))
  await publisher.publish({ topic: 'work/poison/1', payload: {} })
  await publisher.flood(OTHERS / 2, (n) => ({ topic: `work/k${n % 9}/${OTHERS / 2 + n}`, payload: {} }))
  await until(
    'it is a dead letter',
    async () => (await dead()).length > 0,
    LIMIT_MS,
    () => explain(installation),
  )
  await until(
    'the others are handled',
    () => others() === OTHERS,
    LIMIT_MS,
    () => explain(installation),
  )
  await installation.untilReady()
  const seconds = (performance.now() - startedAt) / 1_000
  const deaths = (await installation.workers()).reduce((sum, { restarts }) => sum + restarts, 0)
  const letters = await dead()
  figures(`poison that ends its process: ${title}`, {
    others: OTHERS,
    'others lost': OTHERS - others(),
    'others run twice': witness.lines().length - poison() - others(),
    'poison run': poison(),
    deaths,
    'dead letters': letters.length,
    seconds,
  })
  assert.deepEqual(
    letters.map(({ topic, attempts, error }) => [topic, attempts, error.code]),
    [['work/poison/1', ATTEMPTS, 'WORKER_DIED']],
  )
  // The first death has no name yet, unless the broker had delivered it twice before; the others are its own.
  assert.ok(deaths === ATTEMPTS + 1 || deaths === ATTEMPTS, `${deaths} deaths`)
  const runs = poison()
  // It is gone from the broker: a new start finds nothing.
  await installation.down()
  await installation.up()
  await publisher.publish({ topic: `work/k0/${OTHERS}`, payload: {} })
  await until('what comes later is handled', () => others() === OTHERS + 1)
  assert.equal(poison(), runs)
}

for (const [title, end] of Object.entries(ENDS)) {
  test(`a message that ends its process each time (${title}) is a dead letter after its attempts, and all else is handled`, async (t) => {
    if (!needsMosquitto(t)) return
    await poisoned(t, title, end, 'shared: true', SETTINGS[title])
  })
}

test('the same on an ordered route, where it is parked before it ends its process', async (t) => {
  if (!needsMosquitto(t)) return
  await poisoned(t, 'parked', 'await sleep(400); process.exit(7)', "orderBy: 'key'", { MQTT_ACK_HOLD: '100' })
})

test('a gateway that is killed in between does not begin the count of deaths anew', async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const attempts = 4
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: router('process.exit(7)', 'shared: true', attempts),
    workers: 1,
    env: { LOG_LEVEL: 'error' },
  })
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const runs = () => installation.witness.lines().filter((line) => line === 'poison').length
  const hint = () => explain(installation)
  await publisher.publish({ topic: 'work/poison/1', payload: {} })
  await until('it has run three times', () => runs() >= 3, LIMIT_MS, hint)
  await installation.killGateway()
  const before = runs()
  await installation.up()
  const dead = async () => {
    const response = await installation.product.fetch('/api/admin/dead').catch(() => undefined)
    return ((await response?.json()) ?? []) as Letter[]
  }
  await until('it is a dead letter', async () => (await dead()).length > 0, LIMIT_MS, hint)
  figures('poison over a killed gateway', { attempts, 'run before the kill': before, 'run in all': runs() })
  assert.deepEqual(
    (await dead()).map(({ topic, attempts, error }) => [topic, attempts, error.code]),
    [['work/poison/1', attempts, 'WORKER_DIED']],
  )
  // The first death has no name, and the run that the kill of the gateway ended counts for nobody.
  assert.ok(runs() <= attempts + 2, `${runs()} runs`)
})
