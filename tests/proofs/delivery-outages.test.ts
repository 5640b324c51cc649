import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { runCommand } from '../e2e/support/product.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const AWAY_MS = size(3_000, 10_000)
const PER_SECOND = size(150, 600)
const KINDS = ['plain', 'ordered', 'shared'] as const
const PERSISTENT = ['autosave_on_changes true', 'autosave_interval 1000']

const ROUTER = `
import { Router } from 'routemq'
import { saw, sleep } from '../app/saw.js'
const router = new Router()
router.on('plain/{n:int}', async (ctx) => saw('plain ' + ctx.params.n), { name: 'plain', qos: 1 })
router.on('ordered/{key}/{n:int}', async (ctx) => {
  await sleep(Math.random() * 3)
  saw('ordered ' + ctx.params.n)
}, { name: 'ordered', qos: 1, orderBy: 'key' })
router.on('shared/{n:int}', async (ctx) => {
  await sleep(Math.random() * 3)
  saw('shared ' + ctx.params.n)
}, { name: 'shared', qos: 1, shared: true, workers: 4 })
export default router
`

/** Publishes on all three routes until it is told to end, and remembers when the broker acknowledged what. */
class Traffic {
  readonly #publisher: Publisher
  readonly #pending: Promise<void>[] = []
  #running = true
  /** By kind: when each message was sent and acknowledged, performance milliseconds. */
  readonly sent: Record<string, { sentAt: number; ackedAt: number }[]> = { plain: [], ordered: [], shared: [] }
  readonly #loop: Promise<void>

  constructor(publisher: Publisher) {
    this.#publisher = publisher
    this.#loop = this.#run()
  }

  async #run(): Promise<void> {
    while (this.#running) {
      for (const kind of KINDS) this.#pending.push(this.#send(kind))
      await pause(1_000 / PER_SECOND)
      // Bounded, as a real publisher is; while the broker is away it stands still.
      if (this.#pending.length > 300) await this.#pending.shift()
    }
    await Promise.all(this.#pending)
  }

  async #send(kind: string): Promise<void> {
    const line = this.sent[kind]!
    const n = line.length
    const entry = { sentAt: performance.now(), ackedAt: Number.POSITIVE_INFINITY }
    line.push(entry)
    await this.#publisher.publish({ topic: kind === 'ordered' ? `ordered/${n % 5}/${n}` : `${kind}/${n}`, payload: {} })
    entry.ackedAt = performance.now()
  }

  /** Resolves when everything is acknowledged by the broker. */
  async end(): Promise<void> {
    this.#running = false
    await this.#loop
  }

  get total(): number {
    return KINDS.reduce((sum, kind) => sum + this.sent[kind]!.length, 0)
  }

  missing(installation: Installation, kind: string): number[] {
    const seen = installation.witness.counts()
    return this.sent[kind]!.flatMap((_, n) => (seen.has(`${kind} ${n}`) ? [] : [n]))
  }
}

async function busy(t: TestContext) {
  const mosquitto = await startMosquitto(PERSISTENT)
  t.after(() => mosquitto.stop())
  const installation = await Installation.start(t, { brokerUrl: mosquitto.url, router: ROUTER })
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  return { mosquitto, installation, traffic: new Traffic(publisher) }
}

/** Waits for what is missing, within reason, and reports. */
async function account(
  installation: Installation,
  traffic: Traffic,
  title: string,
  facts: Record<string, number> = {},
) {
  const missing = () => KINDS.map((kind) => traffic.missing(installation, kind).length)
  const endsAt = performance.now() + 30_000
  let last = -1
  for (let now = missing(); now.some((n) => n > 0) && performance.now() < endsAt; now = missing()) {
    const sum = now.reduce((a, b) => a + b, 0)
    await pause(sum === last ? 1_000 : 100)
    if (sum === last && performance.now() > endsAt - 20_000) break
    last = sum
  }
  const lost = Object.fromEntries(KINDS.map((kind) => [`${kind} lost`, traffic.missing(installation, kind).length]))
  const twice = installation.witness.lines().length - installation.witness.counts().size
  figures(title, { messages: traffic.total, ...lost, 'run twice': twice, ...facts })
}

test('mosquitto stopped and started: plain and ordered routes lose nothing, shared ones nothing outside the gap', async (t) => {
  if (!needsMosquitto(t)) return
  const { mosquitto, installation, traffic } = await busy(t)
  await pause(1_000)
  const downAt = performance.now()
  await mosquitto.down()
  await until('/ready tells', async () => (await installation.product.fetch('/ready')).status !== 200)
  await pause(AWAY_MS)
  await mosquitto.up()
  await installation.untilReady()
  const readyAt = performance.now()
  await pause(1_000)
  await traffic.end()
  const gap = traffic.sent.shared!.filter(({ ackedAt, sentAt }) => ackedAt > downAt && sentAt < readyAt)
  await account(installation, traffic, 'broker restarted', {
    'shared acknowledged between stop and ready': gap.length,
    'away, s': AWAY_MS / 1_000,
  })
  assert.deepEqual(traffic.missing(installation, 'plain'), [])
  assert.deepEqual(traffic.missing(installation, 'ordered'), [])
  const outside = traffic.missing(installation, 'shared').filter((n) => !gap.includes(traffic.sent.shared![n]!))
  assert.deepEqual(outside, [], 'lost although acknowledged before the stop or sent after /ready')
  assertOrder(installation)
})

test('the application stopped and started while publishing goes on: nothing is lost', async (t) => {
  if (!needsMosquitto(t)) return
  const { installation, traffic } = await busy(t)
  await pause(500)
  await installation.down()
  await pause(1_000)
  await installation.up()
  await pause(500)
  await traffic.end()
  await account(installation, traffic, 'application restarted')
  for (const kind of KINDS) assert.deepEqual(traffic.missing(installation, kind), [], kind)
  assertOrder(installation)
})

test('worker:scale from 4 slots to 1 and rolling worker:restart under load: nothing is lost or stranded', async (t) => {
  if (!needsMosquitto(t)) return
  const { installation, traffic } = await busy(t)
  await pause(300)
  const scaled = await runCommand(installation.root, ['worker:scale', '1'])
  assert.equal(scaled.code, 0, scaled.stderr)
  const names = (await installation.workers()).map(({ name }) => name).sort()
  assert.deepEqual(names, ['slot-1', 'solo'])
  const before = traffic.total
  const restarted = await runCommand(installation.root, ['worker:restart'])
  assert.equal(restarted.code, 0, restarted.stderr)
  const during = traffic.total - before
  await runCommand(installation.root, ['worker:scale', '3'])
  await runCommand(installation.root, ['worker:restart', 'slot-2'])
  await pause(300)
  await traffic.end()
  await account(installation, traffic, 'scaled 4 to 1 to 3 and restarted', { 'published during the restart': during })
  for (const kind of KINDS) assert.deepEqual(traffic.missing(installation, kind), [], kind)
  assertOrder(installation)
})

/** First runs of each key came in the order they were sent. */
function assertOrder(installation: Installation): void {
  const lines = new Set(installation.witness.lines())
  const newest = new Map<number, number>()
  for (const line of lines) {
    if (!line.startsWith('ordered ')) continue
    const n = Number(line.slice(8))
    assert.ok((newest.get(n % 5) ?? -1) < n, `key ${n % 5}: ${n} ran after ${newest.get(n % 5)}`)
    newest.set(n % 5, n)
  }
}
