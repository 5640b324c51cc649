import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { EXIT } from '../../core/cli/exit-codes.js'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Product } from '../e2e/support/product.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { settled, until } from './support/waiting.js'

const MESSAGES = size(400, 4_000)

/** Says which installation handled what; `slot-2` does not load while the file BROKEN is there. */
const SHARED = `
import { existsSync } from 'node:fs'
import { Router } from 'routemq'
import { saw } from '../app/saw.js'
if (process.env.ROUTEMQ_WORKER === 'slot-2' && existsSync('BROKEN')) throw new Error('this slot cannot come back')
const router = new Router()
router.on('jobs/{n:int}', async (ctx) => saw(process.env.ROUTEMQ_INSTANCE + ' ' + ctx.params.n), {
  name: 'jobs', qos: 1, shared: true, workers: 4,
})
export default router
`

async function world(t: TestContext) {
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const flood = (first: number, count: number) =>
    publisher.flood(count, (index) => ({ topic: `jobs/${first + index}`, payload: {} }))
  return { mosquitto, publisher, flood }
}

const numbersIn = (installation: Installation) =>
  new Set(installation.witness.lines().map((line) => Number(line.split(' ')[1])))

const sessionsIn = ({ root }: Installation) =>
  (JSON.parse(readFileSync(join(root, 'data/sessions.json'), 'utf8')) as { lane: string }[])
    .map(({ lane }) => lane)
    .sort()

test('two installations in one share group share the load, each message once', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, flood } = await world(t)
  const same = { MQTT_CLIENT_ID: 'plant', MQTT_GROUP_NAME: 'plant' }
  const options = { brokerUrl: mosquitto.url, router: SHARED, workers: 2 }
  const one = await Installation.start(t, { ...options, env: { ...same, ROUTEMQ_INSTANCE: 'one' } })
  const two = await Installation.start(t, { ...options, env: { ...same, ROUTEMQ_INSTANCE: 'two' } })
  await flood(0, MESSAGES)
  const handled = () => one.witness.lines().length + two.witness.lines().length
  await until('all are handled', () => handled() >= MESSAGES)
  await settled(handled, 500)
  const [byOne, byTwo] = [one.witness.lines().length, two.witness.lines().length]
  figures('two installations', { messages: MESSAGES, 'by one': byOne, 'by two': byTwo, twice: handled() - MESSAGES })
  assert.equal(handled(), MESSAGES)
  assert.equal(new Set([...numbersIn(one), ...numbersIn(two)]).size, MESSAGES)
  assert.ok(Math.min(byOne, byTwo) > MESSAGES / 4)
})

test('a second start with the same client ids stops and says what to do', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, flood } = await world(t)
  const env = { MQTT_CLIENT_ID: 'plant', MQTT_GROUP_NAME: 'plant', ROUTEMQ_INSTANCE: 'same' }
  const options = { brokerUrl: mosquitto.url, router: SHARED, workers: 2, env }
  const first = await Installation.start(t, options)
  await flood(0, 50)
  const second = Installation.prepare(t, options)
  const product = Product.spawn(second.root, { env: second.env, args: ['--workers', '2'] })
  t.after(() => product.child.kill('SIGKILL'))
  const startedAt = performance.now()
  const guard = setTimeout(() => product.child.kill('SIGKILL'), 60_000)
  const [code] = (await once(product.child, 'close')) as [number | null]
  clearTimeout(guard)
  const seconds = (performance.now() - startedAt) / 1_000
  await flood(50, 50)
  await until('the first goes on', () => numbersIn(first).size + numbersIn(second).size === 100)
  figures('second start', { 'exit code': String(code), seconds, 'handled by the first': numbersIn(first).size })
  assert.equal(code, EXIT.configuration)
  assert.match(product.text, /CLIENT_ID_IN_USE/)
  assert.match(product.text, /ROUTEMQ_INSTANCE/)
  assert.doesNotMatch(first.product.text, /connection to the broker lost/)
})

test('a slot that cannot come back is adopted, and serves again when it can', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, flood } = await world(t)
  const installation = await Installation.start(t, { brokerUrl: mosquitto.url, router: SHARED, workers: 2 })
  const broken = join(installation.root, 'BROKEN')
  writeFileSync(broken, '')
  const slot = (await installation.workers()).find(({ name }) => name === 'slot-2')!
  process.kill(slot.pid!, 'SIGKILL')
  const startedAt = performance.now()
  await flood(0, MESSAGES)
  await until('all are handled', () => numbersIn(installation).size === MESSAGES, 60_000)
  const seconds = (performance.now() - startedAt) / 1_000
  await until('its session is ended', () => sessionsIn(installation).join() === 'slot-1/shared')
  assert.notEqual((await installation.product.fetch('/ready')).status, 200)
  rmSync(broken)
  await installation.untilReady()
  await flood(MESSAGES, MESSAGES)
  await until('all are handled again', () => numbersIn(installation).size === 2 * MESSAGES)
  assert.deepEqual(sessionsIn(installation), ['slot-1/shared', 'slot-2/shared'])
  figures('slot adopted', { messages: 2 * MESSAGES, lost: 0, 'seconds until adopted': seconds })
})

test('a start with fewer slots than before adopts the sessions of the others', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, flood } = await world(t)
  const installation = await Installation.start(t, { brokerUrl: mosquitto.url, router: SHARED, workers: 4 })
  assert.equal(sessionsIn(installation).length, 4)
  await installation.down()
  await flood(0, MESSAGES)
  await installation.up({}, 1)
  await until('all are handled', () => numbersIn(installation).size === MESSAGES)
  await until('the others are ended', () => sessionsIn(installation).join() === 'slot-1/shared')
  figures('4 slots to 1 between two starts', { messages: MESSAGES, lost: 0 })
})

test('a route that is gone at the next start has its filter unsubscribed', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, publisher } = await world(t)
  const route = (name: string) =>
    `router.on('${name}/{n:int}', async (ctx) => saw('${name} ' + ctx.params.n), { name: '${name}', qos: 1 })\n`
  const text = (...names: string[]) =>
    `import { Router } from 'routemq'\nimport { saw } from '../app/saw.js'\nconst router = new Router()\n${names.map(route).join('')}export default router\n`
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: text('kept', 'gone'),
    workers: 1,
  })
  await installation.down()
  writeFileSync(join(installation.root, 'routers/devices.ts'), text('kept'))
  await installation.up()
  const received = async () => {
    const solo = (await installation.workers()).find(({ name }) => name === 'solo')
    return Number(solo?.stats?.lanes[0]?.received ?? -1)
  }
  await until('statistics are in', async () => (await received()) >= 0)
  for (let n = 0; n < 20; n += 1) await publisher.publish({ topic: `gone/${n}`, payload: {} })
  await publisher.publish({ topic: 'kept/1', payload: {} })
  await until('the other route runs', () => numbersIn(installation).size === 1)
  await until('statistics are in', async () => (await received()) > 0)
  figures('route removed', { received: await received(), 'published on it': 20 })
  assert.equal(await received(), 1)
})
