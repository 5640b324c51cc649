import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { sql } from 'kysely'
import { startVirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { openStore } from '../core/database/databases.js'
import { ownServer, whyNoServers } from '../core/database/own-servers.js'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { CountingDevice } from './support/counting-device.js'
import { Installation } from './support/installation.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const DEVICES = 10
const POINTS = size(40, 100)
const EVERY_MS = 200
/** How long the database is away; the gateway is killed in the middle of it. */
const AWAY_MS = size(6_000, 60_000)
const MEMORY_BOUND_MB = 512

const ROUTER = `
import { Router, RouteMQError } from 'routemq'
const router = new Router()
router.on('poison/{n:int}', (ctx) => {
  throw new RouteMQError('PAYLOAD_INVALID', 'poison ' + ctx.params.n)
}, { name: 'poison', qos: 1, shared: true, workers: 2 })
export default router
`

const noServers = await whyNoServers()
if (noServers !== undefined) console.error(`SKIPPED: outages of own database servers: ${noServers}`)

for (const kind of ['postgres', 'mysql'] as const) {
  test(`${kind} stopped under load and the gateway killed meanwhile: nothing missing, nothing twice`, {
    skip: noServers ?? false,
  }, async (t) => {
    if (!needsMosquitto(t)) return
    const endings: (() => Promise<unknown>)[] = []
    // The last that started ends first: a publisher waits for its broker.
    t.after(async () => {
      for (const end of endings.reverse()) await end()
    })
    const server = await ownServer(kind)
    endings.push(() => server.remove())
    await server.start()
    const mosquitto = await startMosquitto()
    endings.push(() => mosquitto.stop())
    const counting = await Promise.all(Array.from({ length: DEVICES }, () => CountingDevice.start(t)))
    const written = await startVirtualDevice({ units: { 1: {} } })
    endings.push(() => written.close())
    const installation = await Installation.start(t, {
      brokerUrl: mosquitto.url,
      router: ROUTER,
      devices: definition(counting, written.port),
      workers: 2,
      env: { DATABASE_URL: server.config.url, POLL_ENABLED: 'true' },
    })
    const traffic = new Traffic(installation, await Publisher.connect(mosquitto.url))
    endings.push(() => traffic.stop())
    const memory = watchMemory(t, installation)
    const startedAt = performance.now()
    const status = async () => (await installation.product.json('/health')).body

    await pause(2_000)
    await server.stop()
    await pause(AWAY_MS / 2)
    assert.equal(((await status()).services as Record<string, unknown>).database, 'disconnected')
    const killedAt = Date.now()
    await installation.killGateway()
    const readsAtKill = counting.map(({ reads }) => reads)
    await installation.up()
    await pause(AWAY_MS / 2)
    await server.start()
    await until('the database is there again', async () => (await status()).status === 'ok', 20_000)
    await until('the spools are empty', async () => (await waiting(installation)) === 0, 60_000)
    await traffic.stop()
    await until('the dead letters are written', async () => (await waiting(installation)) === 0, 60_000)
    // A stop writes out what is buffered, so that every read that was answered is there.
    await installation.down()

    const store = await openStore(server.config)
    endings.push(() => store.close())
    const { rows } = await sql<StoredReading>`
      select s.device_id, s.point, r.source_id as life, r.value, r.quality
      from routemq_readings r join routemq_series s on s.id = r.series_id
      order by s.device_id, s.point, r.source_id, r.sequence`.execute(store.kysely)
    const byBoot = await sql<{ rows: number; sequences: number; top: number }>`
      select count(*) as "rows", count(distinct sequence) as sequences, max(sequence) as top from routemq_readings group by source_id`.execute(
      store.kysely,
    )
    const { lost, late } = check(rows, counting, readsAtKill, killedAt)
    const audited = await traffic.audited(store)
    const dead = await traffic.dead(store)
    figures(`${kind} away, gateway killed`, {
      'rows/s': (DEVICES * POINTS * 1_000) / EVERY_MS,
      'away s': AWAY_MS / 1_000,
      rows: rows.length,
      'lost by SIGKILL': lost,
      'read too late': late,
      'writes answered': traffic.answered.length,
      'audit missing': traffic.answered.filter((value) => !audited.has(value)).length,
      'audit twice': [...audited.values()].filter((count) => count > 1).length,
      'dead letters wanted': traffic.poison,
      'dead letters missing': traffic.poison - dead.size,
      'most memory MiB': memory.most(),
      seconds: (performance.now() - startedAt) / 1_000,
    })
    assert.equal(byBoot.rows.length, 2)
    for (const life of byBoot.rows) {
      assert.equal(Number(life.rows), Number(life.top), 'no sequence is missing')
      assert.equal(Number(life.sequences), Number(life.top), 'no sequence is there twice')
    }
    for (const value of traffic.answered) assert.equal(audited.get(value), 1, `write ${value} in the audit`)
    for (const count of audited.values()) assert.equal(count, 1)
    assert.equal(dead.size, traffic.poison)
    assert.ok(memory.most() < MEMORY_BOUND_MB, `${memory.most()} MiB`)
  })
}

interface StoredReading {
  readonly device_id: string
  readonly point: string
  readonly life: number
  /** The number of the read, as the device gave it. */
  readonly value: number | null
  readonly quality: number
}

/**
 * Holds what is stored of each point against what its device answered. On a busy machine a poll may end before the
 * answer is seen. A bad reading then stands at the beginning of such a time and none for each read of it, so only a bad
 * reading right before excuses numbers that are missing; they are counted.
 *
 * @returns rows lost by the kill, which were read in the last second before it; and reads that came too late
 */
function check(
  rows: readonly StoredReading[],
  devices: readonly CountingDevice[],
  readsAtKill: readonly number[],
  killedAt: number,
): { lost: number; late: number } {
  const points = new Map<string, Map<number, StoredReading[]>>()
  for (const row of rows) {
    const lives = points.get(`${row.device_id} ${row.point}`) ?? new Map<number, StoredReading[]>()
    points.set(`${row.device_id} ${row.point}`, lives)
    const life = lives.get(row.life) ?? []
    lives.set(row.life, life)
    life.push(row)
  }
  let [lost, late] = [0, 0]
  for (const [index, device] of devices.entries()) {
    for (let point = 0; point < POINTS; point++) {
      const name = `d${index} p${point}`
      const lives = [...(points.get(name)?.values() ?? [])]
      assert.equal(lives.length, 2, name)
      const before = walk(name, lives[0]!, 0)
      // The first read that is not there any more was answered within the last second.
      const firstLost = device.answeredAt[before.next]
      if (before.next < readsAtKill[index]!) {
        assert.ok(firstLost! >= killedAt - 1_000, `${name}: lost what was read ${killedAt - firstLost!} ms before`)
      }
      const after = walk(name, lives[1]!, readsAtKill[index]!)
      assert.ok(after.isBad || after.next === device.reads, `${name}: ends at ${after.next} of ${device.reads}`)
      lost += readsAtKill[index]! - before.next
      late += before.late + after.late
    }
  }
  return { lost, late }
}

/** Counts through the rows of one point in one life; `next` is the read that would come now. */
function walk(name: string, rows: readonly StoredReading[], first: number) {
  let [next, late, isBad] = [first, 0, false]
  for (const { value, quality } of rows) {
    if (quality !== 0) {
      isBad = true
      continue
    }
    assert.ok(value! >= next, `${name}: ${value} is there twice`)
    assert.ok(isBad || value === next, `${name}: ${value} follows ${next - 1}`)
    late += value! - next
    next = value! + 1
    isBad = false
  }
  return { next, late, isBad }
}

/** Writes over REST and poisoned messages, all the while; what was answered is remembered here. */
class Traffic {
  /** Values of writes that were answered with 200. */
  readonly answered: number[] = []
  poison = 0
  readonly #installation: Installation
  readonly #publisher: Publisher
  readonly #ending = new AbortController()
  readonly #running: Promise<unknown>

  constructor(installation: Installation, publisher: Publisher) {
    this.#installation = installation
    this.#publisher = publisher
    this.#running = Promise.all([this.#write(), this.#spoil()])
  }

  async stop(): Promise<void> {
    if (this.#ending.signal.aborted) return
    this.#ending.abort()
    await this.#running
    await this.#publisher.close()
  }

  async #write(): Promise<void> {
    for (let value = 1; !this.#ending.signal.aborted; value++) {
      const { product } = this.#installation
      const body = { address: 0, value }
      // While the gateway is dead nobody answers: such a write promises nothing.
      const answer = await product.post('/api/devices/written/registers/write', body).catch(() => undefined)
      if (answer?.status === 200) this.answered.push(value)
      await pause(50)
    }
  }

  async #spoil(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await this.#publisher.publish({ topic: `poison/${this.poison}`, payload: {} })
      this.poison += 1
      await pause(50)
    }
  }

  /** How often each written value is in the audit. */
  async audited(store: Awaited<ReturnType<typeof openStore>>): Promise<Map<number, number>> {
    const counts = new Map<number, number>()
    for (let before: number | undefined; ; ) {
      const page = await store.audit.list({
        device_id: 'written',
        kind: 'write',
        limit: 1_000,
        ...(before !== undefined && { before }),
      })
      for (const { after } of page) {
        const value = Number(Array.isArray(after) ? after[0] : after)
        counts.set(value, (counts.get(value) ?? 0) + 1)
      }
      if (page.length < 1_000) return counts
      before = page.at(-1)!.id
    }
  }

  /** Topics in the dead letters. */
  async dead(store: Awaited<ReturnType<typeof openStore>>): Promise<Set<string>> {
    const { rows } = await sql<{ topic: string }>`select topic from routemq_dead_letters`.execute(store.kysely)
    return new Set(rows.map(({ topic }) => topic))
  }
}

/** What waits anywhere for the database or a worker. */
async function waiting({ product }: Installation): Promise<number> {
  const metrics = await (await product.fetch('/metrics')).text()
  const names = ['audit_waiting', 'ingest_spool_records', 'delivery_spooled', 'delivery_claims']
  return names.reduce((sum, name) => sum + metric(metrics, name), 0)
}

function metric(metrics: string, name: string): number {
  const line = metrics.split('\n').find((text) => !text.startsWith('#') && text.includes(name))
  if (line === undefined) throw new Error(`no ${name} in /metrics:\n${metrics.match(/^\w*store\w*.*$/gm)?.join('\n')}`)
  return Number(line.split(' ').at(-1))
}

/** The most the gateway process took, in MiB. */
function watchMemory(t: TestContext, installation: Installation): { most(): number } {
  let most = 0
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${installation.product.child.pid}/status`, 'utf8')
      most = Math.max(most, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024)
    } catch {
      // Between its death and the next start there is none.
    }
  }, 200)
  t.after(() => clearInterval(timer))
  return { most: () => Math.round(most) }
}

function definition(counting: readonly CountingDevice[], writtenPort: number): string {
  const common = { host: '127.0.0.1', slave_id: 1, framer: 'SOCKET', timeout: 5, poll_timeout_ms: 5_000 }
  const points = Array.from({ length: POINTS }, (_, n) => ({ name: `p${n}`, address: n, type: 'uint16' }))
  const devices = counting.map(({ port }, index) => ({ ...common, device_id: `d${index}`, port, points }))
  const targets = devices.map(({ device_id }) => ({
    device_id,
    address: 0,
    count: POINTS,
    interval_ms: EVERY_MS,
  }))
  const written = { ...common, device_id: 'written', port: writtenPort, max_retries: 0 }
  return `import { defineDevices } from 'routemq'\nexport default defineDevices(${JSON.stringify({ devices: [...devices, written], targets })})\n`
}
