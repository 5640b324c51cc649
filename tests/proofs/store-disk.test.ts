import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { Spool } from '../../core/spool/spool.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const DISK_BYTES = 24 * 1024 * 1024
const SPOOLS = ['readings', 'audit', 'events', 'delivery', 'outbox']
const FULL_FOR_MS = size(6_000, 60_000)

type Health = { status: string; services: Record<string, string>; details: Record<string, unknown> }

test('a full disk: /health says so without flapping, nothing crashes, and all goes on when there is room', async (t) => {
  const disk = mounted(t)
  if (disk === undefined) return
  const { root, data } = disk
  const product = await Product.start(root, { env: { LOG_LEVEL: 'warn' } })
  t.after(() => product.stop())
  const health = async () => (await product.json('/health')).body as unknown as Health
  const rows = async () => Number((await store(product)).inserted)
  await until('readings are stored', async () => (await rows()) > 0)

  const filler = fill(data)
  const write = (value: number) => product.post('/api/devices/office-eng/registers/write', { address: 10, value })
  await until(
    '/health says it',
    async () => isBad(await health()),
    30_000,
    () => product.text.slice(-2_000),
  )
  const seen: string[] = []
  const answers: number[] = []
  const codes = new Set<unknown>()
  for (const endsAt = performance.now() + FULL_FOR_MS; performance.now() < endsAt; await pause(100)) {
    const now = await health()
    assert.ok(isBad(now), `flapped: ${JSON.stringify(now)} after ${seen.join(' ')}`)
    if (seen.at(-1) !== JSON.stringify(now.services)) seen.push(JSON.stringify(now.services))
    const { status, body } = await write(answers.length % 100)
    answers.push(status)
    if (status !== 200) codes.add(body.code)
  }
  const reason = (await health()).details
  assert.equal(product.child.exitCode, null, product.text.slice(-2_000))
  assert.deepEqual([...codes], ['AUDIT_UNAVAILABLE'], 'nothing is written that nobody could trace')

  filler.remove()
  await until('/health is ok again', async () => (await health()).status === 'ok', 30_000)
  assert.equal(product.child.exitCode, null, product.text.slice(-6_000))
  const before = await rows()
  await until('readings are stored again', async () => (await rows()) > before + 10, 60_000)
  assert.equal((await write(42)).status, 200)
  const { body } = await product.json('/api/audit?limit=1000')
  const carriedOut = (body.items as { outcome: string }[]).filter(({ outcome }) => outcome === 'ok').length
  assert.equal(carriedOut, answers.filter((status) => status === 200).length + 1, 'each write that was done is audited')
  assert.equal(await product.stop(), 0, product.text.slice(-2_000))

  const damage = await damageOf(data)
  assert.equal(damage, 0)
  figures('disk full', {
    'seconds bad': FULL_FOR_MS / 1_000,
    'states seen': seen.join(' then '),
    reason: JSON.stringify(reason),
    'writes answered': [...new Set(answers)]
      .map((status) => `${status} x ${answers.filter((one) => one === status).length}`)
      .join(' '),
    'spools damaged': damage,
  })
})

test('a data folder that became read-only: the product runs, says so, and what is in it stays whole', async (t) => {
  const disk = mounted(t)
  if (disk === undefined) return
  const { root, data } = disk
  const remount = (how: 'ro' | 'rw') => execFileSync('mount', ['-o', `remount,${how}`, data], { stdio: 'pipe' })
  const env = { LOG_LEVEL: 'warn' }
  const first = await Product.start(root, { env })
  t.after(() => first.stop())
  await until('readings are stored', async () => Number((await store(first)).inserted) > 0)
  assert.equal(await first.stop(), 0, first.text)

  remount('ro')
  const reading = await Product.start(root, { env })
  t.after(() => reading.stop())
  const health = (await reading.json('/health')).body as unknown as Health
  assert.match(String(health.details.disk), /read-only file system/)
  assert.equal(await reading.stop(), 0, reading.text)

  remount('rw')
  const again = await Product.start(root, { env })
  t.after(() => again.stop())
  await until('readings are stored again', async () => Number((await store(again)).inserted) > 0)
  assert.equal(await again.stop(), 0, again.text)
  assert.equal(await damageOf(data), 0)
})

/** Stretches of the spools that had to be skipped. Fails where the database is not sound. */
async function damageOf(data: string): Promise<number> {
  const database = new Database(join(data, 'routemq.db'))
  const sound = database.pragma('integrity_check', { simple: true })
  database.close()
  assert.equal(sound, 'ok')
  let damage = 0
  for (const name of SPOOLS) {
    const spool = await Spool.open({ dir: join(data, 'spool', name), maxBytes: 1024 ** 3 })
    damage += spool.damage.skippedStretches
    await spool.close()
  }
  return damage
}

/** Says that it does not keep what it should. */
function isBad({ services }: Health): boolean {
  return services.database !== 'ok' || services.poller === 'warning'
}

async function store(product: Product): Promise<{ inserted: string }> {
  const text = await (await product.fetch('/metrics')).text()
  const of = (name: string) => new RegExp(`^routemq_store_ingest_${name}\\{.*\\} (\\S+)$`, 'm').exec(text)?.[1] ?? '0'
  return { inserted: String(Number(of('inserted')) + Number(of('replayed'))) }
}

/** Takes every byte that is left, and what becomes free, until it is removed. */
function fill(data: string): { remove(): void } {
  let files = 0
  const take = () => {
    for (let bytes = 1_048_576; bytes >= 4_096; bytes = bytes / 2) {
      while (statfsSync(data).bavail * statfsSync(data).bsize >= bytes) {
        writeFileSync(join(data, `filler-${files++}`), Buffer.alloc(bytes))
      }
    }
  }
  take()
  return {
    remove() {
      for (; files > 0; files--) rmSync(join(data, `filler-${files - 1}`))
    },
  }
}

/** A project whose data folder is a small file system of its own. Skips loudly where none can be mounted. */
function mounted(t: TestContext): { root: string; data: string } | undefined {
  const { root, remove } = makeProject()
  const data = join(root, 'data')
  mkdirSync(data)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'routemq', data], { stdio: 'pipe' })
  } catch (error) {
    remove()
    console.log(`SKIPPED: ${t.name}: a file system cannot be mounted here: ${String(error).split('\n').at(-2)}`)
    t.skip('a file system cannot be mounted here')
    return undefined
  }
  // When everything has ended that the test started.
  process.on('exit', () => {
    execFileSync('umount', ['-l', data])
    remove()
  })
  return { root, data }
}
