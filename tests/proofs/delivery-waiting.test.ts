import assert from 'node:assert/strict'
import { test } from 'node:test'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const WINDOW = size(16, 64)
const KEEPALIVE_S = 2
const MESSAGES = 4 * WINDOW

/** Each handler awaits a QoS 1 publish of its own and then sleeps for three keepalives. */
const WAITING = `
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('jobs/{n:int}', async (ctx) => {
  await ctx.publish('started/' + ctx.params.n, { n: ctx.params.n }, { qos: 1 })
  await sleep(${3_000 * KEEPALIVE_S})
  await ctx.publish('done/' + ctx.params.n, { n: ctx.params.n }, { qos: 1 })
  saw(ctx.params.n)
}, { name: 'jobs', qos: 1, concurrency: ${WINDOW} })
export default router
`

for (const [version, protocol] of [
  ['3.1.1', 4],
  ['5', 5],
] as const) {
  test(`4 x window handlers that await a publish and sleep three keepalives all finish without a reconnect, MQTT ${version}`, async (t) => {
    if (!needsMosquitto(t)) return
    const mosquitto = await startMosquitto()
    t.after(() => mosquitto.stop())
    const installation = await Installation.start(t, {
      brokerUrl: mosquitto.url,
      router: WAITING,
      workers: 1,
      env: {
        MQTT_PROTOCOL: version,
        MQTT_KEEPALIVE: String(KEEPALIVE_S),
        MQTT_WINDOW_MESSAGES: String(WINDOW),
      },
    })
    const publisher = await Publisher.connect(mosquitto.url, protocol)
    t.after(() => publisher.close())
    const startedAt = performance.now()
    await publisher.flood(MESSAGES, (n) => ({ topic: `jobs/${n}`, payload: {} }))
    const { witness } = installation
    await until(
      'all have finished',
      () => witness.counts().size === MESSAGES,
      90_000,
      () => `${witness.counts().size}`,
    )
    const seconds = (performance.now() - startedAt) / 1_000
    await until('statistics are in', async () => (await connections(installation)).length > 0)
    const lanes = await connections(installation)
    figures(`handlers that wait, MQTT ${version}`, {
      handlers: MESSAGES,
      window: WINDOW,
      'keepalive, s': KEEPALIVE_S,
      finished: witness.counts().size,
      'run twice': witness.lines().length - MESSAGES,
      'connections by lane': lanes.join(' '),
      seconds,
    })
    assert.equal(witness.lines().length, MESSAGES)
    assert.deepEqual(
      lanes,
      lanes.map(() => 1),
    )
    assert.doesNotMatch(installation.product.text, /connection to the broker lost worker=/)
  })
}

async function connections(installation: Installation): Promise<number[]> {
  const workers = await installation.workers()
  return workers.flatMap(({ stats }) => stats?.lanes.map((lane) => Number(lane.connections)) ?? [])
}
