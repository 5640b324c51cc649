import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { explain } from './support/explain.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { FULL, figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const MEBIBYTE = 1_048_576
const COUNT = size(150, 900)
const PAYLOAD = MEBIBYTE - 1_024
/** What the product says it keeps of parked payloads in memory of one process. */
const IN_MEMORY = 48 * MEBIBYTE
/** Growth of a process: the bound, what passes through it at a time and is garbage, and no more whatever the number. */
const ALLOWED_MB = 256
/** Guards against a hang, no more. */
const LIMIT_MS = 300_000

const DEAD = `
import { existsSync } from 'node:fs'
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('dead/{key}/{n:int}', async (ctx) => {
  while (!existsSync(process.env.WITNESS + '.open')) await sleep(20)
  saw(ctx.params.n + ' ' + (ctx.payload as { fill: string }).fill.length)
}, { name: 'dead', qos: 1, orderBy: 'key', timeout: '30m' })
export default router
`

interface Stats {
  readonly memoryMb: number
  readonly delivery: { readonly parked_now: number; readonly parked_bytes: number }
  readonly lanes: readonly { readonly acknowledged: number }[]
}

test('large commands that wait for a dead device: memory stays flat, a killed gateway loses none, all finish in order', async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: DEAD,
    workers: 1,
    env: { MQTT_ACK_HOLD: '100ms' },
  })
  const { witness } = installation
  const gate = `${witness.file}.open`
  t.after(() => rmSync(gate, { force: true }))
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const solo = async () => {
    const worker = (await installation.workers()).find(({ name }) => name === 'solo')
    const stats = worker?.stats as Stats | undefined
    if (stats === undefined) return undefined
    const { memoryMb, delivery, lanes } = stats
    return { memoryMb, ...delivery, acknowledged: lanes.reduce((sum, lane) => sum + lane.acknowledged, 0) }
  }
  let most = 0
  let mostMb = 0
  const look = async () => {
    const now = await solo()
    if (now === undefined) return undefined
    most = Math.max(most, now.parked_bytes)
    mostMb = Math.max(mostMb, now.memoryMb)
    return now
  }
  const hint = () => explain(installation)
  await until('it has reported', async () => (await solo()) !== undefined)
  const before = (await solo())!.memoryMb
  const fill = 'x'.repeat(PAYLOAD)
  const flood = publisher.flood(COUNT, (n) => ({ topic: `dead/device/${n}`, payload: { fill } }), { inFlight: 4 })
  // Acknowledged, too: what is parked and not acknowledged yet comes again after a kill.
  await until('all are parked', async () => (await look())?.acknowledged === COUNT, LIMIT_MS, hint)
  await flood
  assert.deepEqual(witness.lines(), [])

  await installation.killGateway()
  await installation.up()
  await until('the next life has all of them', async () => (await look())?.parked_now === COUNT, LIMIT_MS, hint)
  writeFileSync(gate, '')
  await until('a third is handled', () => witness.lines().length >= COUNT / 3, LIMIT_MS, hint)
  await installation.killGateway()
  const first = [...witness.lines()]
  await installation.up()
  await until('all are handled', () => witness.lines().at(-1) === `${COUNT - 1} ${PAYLOAD}`, LIMIT_MS, hint)
  await until('nothing is parked', async () => (await solo())?.parked_now === 0, LIMIT_MS, hint)
  const second = witness.lines().slice(first.length)

  figures('large commands parked at a dead device', {
    messages: COUNT,
    'payload, bytes': PAYLOAD,
    'handled before the second kill': first.length,
    'run twice': witness.lines().length - COUNT,
    'most of it in memory, MB': most / MEBIBYTE,
    'growth of the worker, MB': mostMb - before,
  })
  const numbers = (lines: readonly string[]) => lines.map((line) => Number(line.split(' ')[0]))
  const from = numbers(second)[0]!
  assert.deepEqual(
    first,
    Array.from({ length: first.length }, (_, n) => `${n} ${PAYLOAD}`),
  )
  assert.deepEqual(
    second,
    Array.from({ length: COUNT - from }, (_, n) => `${from + n} ${PAYLOAD}`),
  )
  // The one that ran, and the one before it whose end was on its way to the gateway.
  assert.ok(from <= first.length && from >= first.length - 2, `${from} after ${first.length}`)
  assert.ok(most <= IN_MEMORY + MEBIBYTE, `${most} bytes`)
  if (FULL) assert.ok(mostMb - before <= ALLOWED_MB, `${mostMb - before} MB`)
})
