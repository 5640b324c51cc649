import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const ALLOWED_MB = 64
const MEBIBYTE = 1_048_576
/** Of payloads in the window of a lane at a time. */
const WINDOW_MB = 16

interface Load {
  readonly title: string
  readonly messages: number
  readonly warmUp: number
  readonly payloadBytes: number
  /** What a worker may grow by after the warm-up. */
  readonly allowedMb: number
}

const SMALL: Load = {
  title: 'slow handlers',
  messages: size(6_000, 100_000),
  warmUp: size(2_000, 5_000),
  payloadBytes: 2,
  allowedMb: ALLOWED_MB,
}
/** Garbage of so large buffers is collected late: the window's bytes twice over, once held and once not yet collected. */
const LARGE: Load = {
  title: 'slow handlers, payloads of 1 MiB',
  messages: size(600, 20_000),
  warmUp: size(200, 5_000),
  payloadBytes: MEBIBYTE - 1_024,
  allowedMb: ALLOWED_MB + 2 * WINDOW_MB,
}

const SLOW = `
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('slow/{n:int}', async (ctx) => {
  await sleep(20)
  saw(ctx.params.n)
}, { name: 'slow', qos: 1, shared: true, workers: 4, concurrency: 32 })
export default router
`

test('many slow handlers: every message is handled and no worker grows', async (t) => {
  if (needsMosquitto(t)) await underLoad(t, SMALL)
})

test('many slow handlers of large messages: the byte bound holds, and no worker grows by more than that', async (t) => {
  if (needsMosquitto(t)) await underLoad(t, LARGE)
})

async function underLoad(t: TestContext, { title, messages, warmUp, payloadBytes, allowedMb }: Load): Promise<void> {
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: SLOW,
    env: { MQTT_WINDOW_BYTES: String(WINDOW_MB * MEBIBYTE) },
  })
  const payload = { fill: 'x'.repeat(payloadBytes) }
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const { witness } = installation
  const memory = async () => {
    const slots = (await installation.workers()).filter(({ name }) => name !== 'solo')
    return new Map(slots.map(({ name, stats }) => [name, stats?.memoryMb ?? 0]))
  }
  const level = new Map<string, number>()
  const most = new Map<string, number>()
  // Workers report once a second.
  await until('all have reported', async () => [...(await memory()).values()].every((mb) => mb > 0))
  const startedAt = performance.now()
  const inFlight = Math.max(8, Math.min(500, Math.floor((64 * MEBIBYTE) / payloadBytes)))
  const flood = publisher.flood(messages, (n) => ({ topic: `slow/${n}`, payload }), { inFlight })
  await until('the warm-up is over', () => witness.lines().length >= warmUp)
  await pause(1_100)
  for (const [name, mb] of await memory()) level.set(name, mb)
  await until(
    'all are handled',
    async () => {
      for (const [name, mb] of await memory()) most.set(name, Math.max(most.get(name) ?? 0, mb))
      return witness.lines().length >= messages
    },
    size(60_000, 900_000),
  )
  await flood
  await pause(1_100)
  for (const [name, mb] of await memory()) most.set(name, Math.max(most.get(name) ?? 0, mb))
  const growth = [...level].map(([name, mb]) => most.get(name)! - mb)
  const seconds = (performance.now() - startedAt) / 1_000
  figures(title, {
    messages,
    'payload, bytes': payloadBytes,
    handled: witness.counts().size,
    'run twice': witness.lines().length - messages,
    'messages a second': messages / seconds,
    'level, MB': [...level.values()].join(' '),
    'growth, MB': growth.join(' '),
  })
  assert.equal(witness.counts().size, messages)
  assert.equal(witness.lines().length, messages)
  for (const mb of growth) assert.ok(mb <= allowedMb, `${mb} MB`)
}
