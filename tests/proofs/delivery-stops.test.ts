import assert from 'node:assert/strict'
import { test } from 'node:test'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { explain } from './support/explain.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const MESSAGES = size(60, 600)
/** Guards against a hang, no more. */
const LIMIT_MS = 240_000

function router(options: string, leak = ''): string {
  return `
import { existsSync, writeFileSync } from 'node:fs'
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
const mark = process.env.WITNESS + '.' + process.env.ROUTEMQ_WORKER
const grows = !existsSync(mark)
writeFileSync(mark, '')
const kept: Buffer[] = []
router.on('work/{n:int}', async (ctx) => {
  saw('begin ' + ctx.params.n)
  ${leak}
  await sleep(100)
  saw('end ' + ctx.params.n)
}, { name: 'work', qos: 1, concurrency: 4, ${options} })
export default router
`
}

test('one process for all (--workers 0): SIGTERM finishes and acknowledges what it has begun, the rest waits at the broker', async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: router('shared: false'),
    workers: 0,
    // The others must stay at the broker.
    env: { MQTT_WINDOW_MESSAGES: '8' },
  })
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const { witness } = installation
  const numbers = (what: string) =>
    witness.lines().flatMap((line) => (line.startsWith(`${what} `) ? [Number(line.slice(what.length + 1))] : []))
  await publisher.flood(MESSAGES, (n) => ({ topic: `work/${n}`, payload: {} }))
  await until('some have ended and some run', () => numbers('end').length >= 4 && numbers('begin').length >= 6)
  // Throws where the exit code is not 0.
  await installation.down()
  const [begun, ended] = [numbers('begin'), numbers('end')]
  assert.deepEqual([...begun].sort(), [...ended].sort(), 'what was begun is ended')
  assert.ok(ended.length < MESSAGES, 'there is something left for the next life')
  await installation.up()
  await until(
    'the rest is handled',
    () => new Set(numbers('end')).size === MESSAGES,
    LIMIT_MS,
    () => explain(installation),
  )
  figures('SIGTERM with --workers 0', {
    messages: MESSAGES,
    'ended before': ended.length,
    'run twice': numbers('begin').length - MESSAGES,
  })
  assert.equal(numbers('begin').length, MESSAGES, 'what had ended was acknowledged')
  assert.equal(numbers('end').length, MESSAGES)
})

/** The first process of each slot grows, the one after it does not. */
const LEAK = 'if (grows && kept.length < 100) kept.push(Buffer.alloc(4 * 1_048_576, 1))'

test('a worker over its memory limit is replaced while messages come, and nothing is lost', async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    // 400 MB each: far over the limit, and far from what a machine that builds something else has left.
    router: router('shared: true, workers: 2', LEAK),
    workers: 2,
    env: { ROUTEMQ_WORKER_MEMORY_MB: '300', MQTT_WINDOW_MESSAGES: '8' },
  })
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const { witness } = installation
  const slots = async () => (await installation.workers()).filter(({ name }) => name.startsWith('slot-'))
  const before = new Map((await slots()).map(({ name, pid }) => [name, pid]))
  let sent = 0
  // Messages come until both have been replaced, and a little longer.
  const replaced = async () =>
    (await slots()).every(({ name, pid, state }) => state === 'ready' && pid !== before.get(name))
  await until(
    'both are replaced',
    async () => {
      for (let n = 0; n < 4; n += 1) await publisher.publish({ topic: `work/${sent++}`, payload: {} })
      return replaced()
    },
    LIMIT_MS,
    () => explain(installation),
  )
  for (let n = 0; n < 20; n += 1) await publisher.publish({ topic: `work/${sent++}`, payload: {} })
  const ended = () => new Set(witness.lines().filter((line) => line.startsWith('end '))).size
  await until(
    'all are handled',
    () => ended() === sent,
    LIMIT_MS,
    () => explain(installation),
  )
  const begun = witness.lines().filter((line) => line.startsWith('begin ')).length
  const deaths = (await slots()).reduce((sum, { restarts }) => sum + restarts, 0)
  figures('workers over their memory limit', { messages: sent, handled: ended(), 'run twice': begun - sent, deaths })
  assert.equal(deaths, 0, 'they were asked to go, and went')
  // One that a busy machine did not let finish in time was killed; else nothing comes twice.
  if (!/did not stop in time/.test(installation.product.text)) assert.equal(begun, sent)
  assert.match(installation.product.text, /over its memory limit/)
})
