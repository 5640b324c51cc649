import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Aedes } from 'aedes'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

const REFUSED = '$share/routemq/devices/+/control'

/** A broker that refuses one filter until it is told to grant it, as one with access rules does. */
async function strictBroker() {
  let granting = false
  const broker = await Aedes.createBroker({
    authorizeSubscribe: (_client, subscription, done) => {
      done(null, granting || subscription.topic !== REFUSED ? subscription : null)
    },
  })
  const server = createServer(broker.handle)
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    port,
    grant: () => {
      granting = true
    },
    close: async () => {
      await new Promise<void>((resolve) => broker.close(() => resolve()))
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

test('a refused subscription fails readiness, its filter is named by /health, and a granted one ends that', async () => {
  const broker = await strictBroker()
  const project = makeProject()
  const product = Product.spawn(project.root, {
    args: ['--workers', '1'],
    env: {
      MQTT_BROKER: '127.0.0.1',
      MQTT_PORT: String(broker.port),
      HTTP_PORT: String(await freePort()),
      LOG_FORMAT: 'json',
    },
  })
  const ready = () => product.json('/ready').catch(() => undefined)
  /** Until `/ready` says so; bounded only by a hang. */
  const until = async (holds: (answer: Awaited<ReturnType<typeof ready>>) => boolean) => {
    for (const startedAt = performance.now(); ; await pause(50)) {
      const answer = await ready()
      if (holds(answer)) return answer!
      assert.ok(performance.now() - startedAt < 120_000, `${JSON.stringify(answer)}\n${product.text}`)
    }
  }
  try {
    await until((answer) => answer?.status === 503 && /"slot-1":"waiting"/.test(JSON.stringify(answer.body)))
    const { body: health } = await product.json('/health')
    assert.match(JSON.stringify(health), /SUBSCRIPTION_REFUSED/)
    assert.ok(JSON.stringify(health).includes(REFUSED), JSON.stringify(health))
    const live = await product.fetch('/live')
    assert.equal(live.status, 200, 'it lives, it is not ready')
    broker.grant()
    await until((now) => now?.status === 200)
    assert.doesNotMatch(JSON.stringify((await product.json('/health')).body), /REFUSED/)
  } finally {
    assert.equal(await product.stop(), 0)
    await broker.close()
    project.remove()
  }
})
