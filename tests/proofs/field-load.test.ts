import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { ENDPOINTS, FARM_POINTS, Farm, UNITS } from './support/field-farm.js'
import { BuiltPackage } from './support/field-package.js'
import { FULL, figures, size } from './support/size.js'
import { settled, until } from './support/waiting.js'

const SECONDS = size(10, 60)
const DEVICES = ENDPOINTS * UNITS
/** Clock ticks a second in /proc; 100 on every Linux. */
const TICK_MS = 10
let built: BuiltPackage | undefined
after(() => built?.remove())

/** As `npm start` and the image run it; others for profiles. */
const NODE_OPTIONS = process.env.PROOF_NODE_OPTIONS ?? '--v8-pool-size=1'
const NO_ROUTES = `import { Router } from 'routemq'\nexport default new Router()\n`

/** Milliseconds of processor time of a process, and of its main thread alone. */
function cpuOf(pid: number): { all: number; main: number } {
  const ticks = (file: string) => {
    const fields = readFileSync(file, 'utf8').split(') ').at(-1)!.split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  }
  return { all: ticks(`/proc/${pid}/stat`), main: ticks(`/proc/${pid}/task/${pid}/stat`) }
}

function rssMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1_024
}

/** Hears everything the product publishes, in a process of its own: messages by topic, gaps in their timestamps. */
async function subscriber(t: TestContext, url: string) {
  const child = fork(new URL('support/field-subscriber-main.ts', import.meta.url), [url])
  t.after(async () => {
    if (child.exitCode !== null) return
    const gone = once(child, 'exit')
    child.disconnect()
    await gone
  })
  await once(child, 'message')
  return async (): Promise<{ counts: Record<string, number>; total: number; widestGapS: number; nonsense: number }> => {
    const answer = once(child, 'message')
    child.send('count')
    return (await answer)[0]
  }
}

/** The bare loop at the same work: processor milliseconds for a second of it, taken while `window` runs. */
async function bareLoop(url: string, farm: Farm, form: 'block' | 'points') {
  const job = JSON.stringify({ url, ports: farm.ports, form })
  const child = fork(new URL('support/field-bare-main.ts', import.meta.url), [job])
  await once(child, 'message')
  const ask = async () => {
    const answer = once(child, 'message')
    child.send('figures')
    return (await answer)[0] as { reads: number; failures: number; cpuMs: number }
  }
  return {
    async during(window: () => Promise<void>): Promise<number> {
      const before = await ask()
      await window()
      const after = await ask()
      const reads = after.reads - before.reads
      assert.ok(reads > 0, 'the bare loop read nothing')
      return (after.cpuMs - before.cpuMs) / (reads / DEVICES)
    },
    async stop() {
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    },
  }
}

for (const form of ['block', 'points'] as const) {
  test(`50 endpoints of 10 units, 30 typed points each, every second, as ${form}: every sample arrives and is stored`, async (t) => {
    if (!needsMosquitto(t)) return
    const mosquitto = await startMosquitto(['max_queued_messages 0'])
    t.after(() => mosquitto.stop())
    const farm = await Farm.start(t)
    const count = await subscriber(t, mosquitto.url)
    const project = makeProject({
      'app/devices.ts': farm.definitions(form),
      'routers/devices.ts': NO_ROUTES,
      'routers/availability.ts': NO_ROUTES,
    })
    t.after(() => project.remove())
    built ??= BuiltPackage.make()
    built.installInto(project.root)
    const env = { MQTT_URL: mosquitto.url, MQTT_CLIENT_ID: 'load', HTTP_PORT: '0', LOG_LEVEL: 'warn', NODE_OPTIONS }
    const start = (more: Record<string, string> = {}) =>
      Product.start(project.root, { cli: built!.cli, args: ['--workers', '0'], env: { ...env, ...more } })
    const product = await start()
    t.after(() => product.stop())
    const pid = product.child.pid!
    const polling = async () => (await product.json('/api/metrics')).body.polling as Record<string, number>
    await until('every device was read', async () => (await polling()).total_cycles! >= DEVICES * 2)
    await product.post('/api/metrics/reset', {})
    let rss = 0
    for (let second = 0; second < SECONDS; second += 1) {
      await pause(1_000)
      rss = Math.max(rss, rssMb(pid))
    }
    const metrics = await polling()

    // Side by side, so that what else the machine does costs both the same.
    const loop = await bareLoop(mosquitto.url, farm, form)
    await pause(2_000)
    const [cpuBefore, cyclesBefore] = [cpuOf(pid), (await polling()).total_cycles!]
    const bare = await loop.during(() => pause(size(6_000, 30_000)))
    const cpuAfter = cpuOf(pid)
    const cycles = ((await polling()).total_cycles! - cyclesBefore) / DEVICES
    await loop.stop()
    const cpu = (cpuAfter.all - cpuBefore.all) / cycles
    const mainCpu = (cpuAfter.main - cpuBefore.main) / cycles

    if (form === 'points') {
      farm.silenceOneEach()
      await pause(size(4_000, 20_000))
    }
    const code = await product.stop()
    assert.equal(code, 0, product.text)
    let heard = await count()
    for (let last = -1; last !== heard.total; ) {
      last = heard.total
      await pause(300)
      heard = await count()
    }

    // Every device: each of its topics as often as every other of its topics, and as often as it was stored.
    const database = new Database(join(project.root, 'data/routemq.db'), { readonly: true })
    t.after(() => database.close())
    const kept = () => (database.prepare('select count(*) as n from routemq_readings').get() as { n: number }).n
    const wanted = heard.total * (form === 'block' ? FARM_POINTS.length : 1)
    const storedAtStop = kept()
    if (storedAtStop < wanted) {
      // A machine too busy to store as fast as it reads leaves the rest in the spool; the next start brings it in.
      const again = await start({ POLL_ENABLED: 'false' })
      t.after(() => again.stop())
      await settled(kept, 2_000, 60_000)
      await again.stop()
    }
    const stored = new Map(
      database
        .prepare(
          `select s.device_id || '/' || s.point as name, count(*) as n from routemq_readings r
           join routemq_series s on s.id = r.series_id where r.quality = 0 group by 1`,
        )
        .all()
        .map((row) => [(row as { name: string }).name, (row as { n: number }).n]),
    )
    figures(`load, ${form}`, {
      samplesPerS: DEVICES * FARM_POINTS.length,
      heard: heard.total,
      storedAtStop: storedAtStop / wanted,
      widestGapS: heard.widestGapS,
      skippedSlots: metrics.skipped_slots!,
      latenessP99Ms: metrics.p99_lateness_ms!,
      latenessMaxMs: metrics.max_lateness_ms!,
      gatewayCpuMsPerS: cpu,
      ofThatMainThread: mainCpu,
      bareLoopCpuMsPerS: bare,
      ratio: cpu / bare,
      rssMb: rss,
    })

    const wrong: string[] = []
    for (let endpoint = 0; endpoint < ENDPOINTS; endpoint += 1) {
      for (let unit = 1; unit <= UNITS; unit += 1) {
        const device = `e${endpoint}u${unit}`
        const topics =
          form === 'block' ? [`${device}/holding/0`] : FARM_POINTS.map((point) => `${device}/points/${point.name}`)
        const times = topics.map((topic) => heard.counts[topic] ?? 0)
        const rows = FARM_POINTS.map((point) => stored.get(`${device}/${point.name}`) ?? 0)
        const same = new Set([...times, ...rows])
        const enough = times[0]! >= SECONDS - metrics.skipped_slots!
        if (same.size !== 1 || !enough)
          wrong.push(`${device}: heard ${[...new Set(times)]}, stored ${[...new Set(rows)]}`)
      }
    }
    assert.deepEqual(wrong.slice(0, 5), [], `${wrong.length} of ${DEVICES} devices`)
    assert.equal(heard.nonsense, 0)
    if (FULL) {
      // Times say something on a machine of its own only.
      assert.equal(metrics.skipped_slots, 0, 'skipped slots')
      assert.ok(metrics.p99_lateness_ms! <= 10, `p99 of lateness ${metrics.p99_lateness_ms} ms`)
      assert.ok(cpu / bare <= 2.5, `${cpu / bare} times the processor time of a bare loop`)
    }
    assert.equal(metrics.publish_failures, 0)
    assert.ok(rss < 250, `${rss} MB`)
  })
}
