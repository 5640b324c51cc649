import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Database from 'better-sqlite3'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Answers } from './support/answers.js'
import { explain } from './support/explain.js'
import { Installation } from './support/installation.js'
import { commandRouter, Plant } from './support/plant.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { settled, until } from './support/waiting.js'

const MESSAGES = size(1_500, 50_000)
const WORKER_KILLS = size(3, 20)
const GATEWAY_KILLS = size(1, 5)
/** Guards against a hang, no more. */
const LIMIT_MS = size(60_000, 1_200_000)
const PERSISTENT = ['autosave_on_changes true', 'autosave_interval 1000']

const READINGS = `
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('readings/{n:int}', async (ctx) => {
  await sleep(Math.random() * 4)
  saw(ctx.params.n)
}, { name: 'readings', qos: 1, shared: true, workers: 4 })
export default router
`

async function broker(t: TestContext) {
  const mosquitto = await startMosquitto(PERSISTENT)
  t.after(() => mosquitto.stop())
  return mosquitto
}

/** Does `kill` so many times, spread evenly over what is to be done. */
async function spread(times: number, flood: Promise<void>, progress: () => number, kill: () => Promise<unknown>) {
  for (let done = 0; done < times; done += 1) {
    await until('the next part is done', () => progress() >= ((done + 1) * MESSAGES) / (times + 2), LIMIT_MS)
    await kill()
  }
  await flood
}

test('a random worker killed again and again: no QoS 1 message is lost', async (t) => {
  if (!needsMosquitto(t)) return
  const { url } = await broker(t)
  const installation = await Installation.start(t, { brokerUrl: url, router: READINGS })
  const publisher = await Publisher.connect(url)
  t.after(() => publisher.close())
  const { witness } = installation
  const startedAt = performance.now()
  const flood = publisher.flood(MESSAGES, (n) => ({ topic: `readings/${n}`, payload: { n } }))
  const handled = () => witness.counts().size
  await spread(WORKER_KILLS, flood, handled, () => installation.killAnyWorker())
  await until(
    'every message is handled',
    () => handled() === MESSAGES,
    LIMIT_MS,
    async () => `${handled()} of ${MESSAGES} ${await explain(installation)}`,
  )
  await settled(() => witness.lines().length, 1_000)
  const restarts = (await installation.workers()).reduce((sum, worker) => sum + worker.restarts, 0)
  figures('workers killed, plain messages', {
    messages: MESSAGES,
    kills: WORKER_KILLS,
    restarts,
    handled: handled(),
    lost: MESSAGES - handled(),
    'run twice': witness.lines().length - handled(),
    seconds: (performance.now() - startedAt) / 1000,
  })
  assert.equal(handled(), MESSAGES)
  assert.equal(restarts, WORKER_KILLS)
})

async function commandedPlant(t: TestContext) {
  const mosquitto = await broker(t)
  const plant = await Plant.start(t, 8, 1)
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: commandRouter(),
    devices: plant.definition,
  })
  const answers = await Answers.on(mosquitto.url, 'devices/+/set/response')
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(async () => {
    await answers.close()
    await publisher.close()
  })
  const send = () =>
    publisher.flood(MESSAGES, (n) => ({
      topic: `devices/d${n % plant.devices.length}/set`,
      payload: { number: n, request_id: `c${n}` },
    }))
  /** Every command is answered, and nothing more comes after that. */
  const allAnswered = async () => {
    await until(
      'every command is answered',
      () => answers.size === MESSAGES,
      LIMIT_MS,
      async () => `${answers.size} of ${MESSAGES} ${await explain(installation)}`,
    )
    await settled(() => plant.writes.length + answers.repeated, 1_000)
  }
  return { plant, installation, answers, send, allAnswered }
}

test('a random worker killed again and again: every command drives its device exactly once and has one outcome', async (t) => {
  if (!needsMosquitto(t)) return
  const { plant, installation, answers, send, allAnswered } = await commandedPlant(t)
  const startedAt = performance.now()
  await spread(
    WORKER_KILLS,
    send(),
    () => answers.size,
    () => installation.killAnyWorker(),
  )
  await allAnswered()
  const driven = plant.numbers()
  const twice = [...driven.values()].filter((count) => count > 1)
  const outcomes = answers.outcomes()
  figures('workers killed, commands', {
    commands: MESSAGES,
    kills: WORKER_KILLS,
    'in the device logs': plant.writes.length,
    'driven twice': twice.length,
    'never driven': MESSAGES - driven.size,
    outcomes: JSON.stringify(outcomes),
    'answers repeated': answers.repeated,
    contradictory: answers.contradictory.length,
    seconds: (performance.now() - startedAt) / 1000,
  })
  assert.deepEqual(twice, [])
  assert.equal(driven.size, MESSAGES)
  assert.deepEqual(outcomes, { ok: MESSAGES })
  assert.deepEqual(answers.contradictory, [])
})

test('the gateway killed: every command drives its device at most once, unknown only what was in flight', async (t) => {
  if (!needsMosquitto(t)) return
  const { plant, installation, answers, send, allAnswered } = await commandedPlant(t)
  const startedAt = performance.now()
  const inFlight = new Set<string>()
  const orphans: number[] = []
  await spread(
    GATEWAY_KILLS,
    send(),
    () => answers.size,
    async () => {
      orphans.push(await installation.killGateway())
      for (const key of claimsWithoutOutcome(installation)) inFlight.add(key)
      await installation.up()
    },
  )
  await allAnswered()
  const driven = plant.numbers()
  const twice = [...driven.values()].filter((count) => count > 1)
  const { ok = 0, WRITE_OUTCOME_UNKNOWN: unknown = 0, ...others } = answers.outcomes()
  figures('gateway killed, commands', {
    commands: MESSAGES,
    kills: GATEWAY_KILLS,
    'in the device logs': plant.writes.length,
    'driven twice': twice.length,
    ok,
    unknown,
    'in flight at the kills': inFlight.size,
    'answers repeated': answers.repeated,
    contradictory: answers.contradictory.length,
    'workers gone after, ms': Math.max(...orphans),
    seconds: (performance.now() - startedAt) / 1000,
  })
  assert.deepEqual(twice, [])
  assert.deepEqual(others, {})
  assert.equal(ok + unknown, MESSAGES)
  assert.ok(unknown <= inFlight.size, `${unknown} unknown, ${inFlight.size} in flight`)
  assert.deepEqual(answers.contradictory, [])
  // Whatever was answered with ok is in a device's log.
  for (const [id, [outcome]] of answers.byId) if (outcome === 'ok') assert.equal(driven.get(Number(id.slice(1))), 1, id)
})

/** What the killed gateway had taken and not ended: read from its database while nothing runs. */
function claimsWithoutOutcome({ root }: Installation): string[] {
  const database = new Database(join(root, 'data/routemq.db'), { readonly: true })
  try {
    const rows = database.prepare('select claim_key from routemq_claims where outcome is null').all()
    return rows.map((row) => String((row as { claim_key: unknown }).claim_key))
  } finally {
    database.close()
  }
}
