import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

const DISK_MIB = 24

test('a disk that fills up: /health says so, nothing crashes, and all is well when there is room again', async (t) => {
  const project = makeProject()
  const data = join(project.root, 'data')
  let product: Product | undefined
  t.after(async () => {
    await product?.stop()
    spawnSync('umount', ['-l', data])
    project.remove()
  })
  if (!smallDisk(t, data)) return
  const running = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true' } })
  product = running
  const write = (value: number) => running.post('/api/devices/office-eng/registers/write', { address: 10, value })
  const ballast: string[] = []
  await until(async () => {
    // Again and again: the log of the database has room of its own, and gives some back.
    ballast.push(join(data, `ballast-${ballast.length}`))
    fill(data, ballast.at(-1)!)
    await write(0)
    return (await running.fetch('/health')).status === 503
  }, '/health answers 503')
  const full = await health(running, 503)
  assert.equal(full.services.database, 'error')
  assert.match(String(full.details.database), /disk is full/)
  let refused: Awaited<ReturnType<typeof write>> | undefined
  await until(async () => {
    refused = await write(1)
    return refused.status === 503
  }, 'what cannot be audited is not written')
  assert.equal(refused?.body.code, 'AUDIT_UNAVAILABLE')
  assert.equal((await running.fetch('/live')).status, 200)
  await pause(2_500)
  assert.equal((await running.fetch('/ready')).status, 200)
  for (const file of ballast) rmSync(file, { force: true })
  const roomAgain = Date.now()
  assert.deepEqual((await health(running, 200)).details, {})
  assert.equal((await write(2)).status, 200)
  await until(async () => {
    const { body } = await running.json('/api/readings?device_id=office-eng&point=temperature&limit=1')
    const [newest] = body.items as { timestamp: string }[]
    return newest !== undefined && Date.parse(newest.timestamp) > roomAgain + 1_000
  }, 'readings are stored again')
  const { body } = await running.json('/api/audit?limit=1')
  assert.deepEqual((body.items as { after: unknown }[])[0]?.after, [2])
  assert.equal(await running.stop(), 0, running.text)
  assert.doesNotMatch(running.text, /Readings were lost|cannot rollback|A reading was refused/)
})

test('a data folder that cannot be written: one sentence names it, with a non-zero exit', async (t) => {
  // A file stands where the folder should be, which stops also a user whom no rights stop.
  const project = makeProject({ 'data/routemq.db': '' })
  t.after(() => project.remove())
  const result = await runCommand(project.root, ['--run'], {
    env: { ROUTEMQ_DEMO: 'true', ROUTEMQ_DATA_DIR: 'data/routemq.db' },
  })
  assert.ok(result.code !== 0 && result.code !== null, result.stdout)
  assert.match(result.stderr, /SPOOL_FAILED: .*data\/routemq\.db\/spool.*\n.*rights of the data folder/)
})

interface Health {
  readonly services: Readonly<Record<string, string>>
  readonly details: Readonly<Record<string, unknown>>
}

async function health(product: Product, status: number): Promise<Health> {
  let body: unknown
  await until(async () => {
    const answer = await product.json('/health')
    body = answer.body
    return answer.status === status
  }, `/health answers ${status}`)
  return body as Health
}

async function until(look: () => Promise<boolean>, what: string): Promise<void> {
  for (const startedAt = performance.now(); performance.now() - startedAt < 60_000; await pause(100)) {
    if (await look()) return
  }
  assert.fail(`not within 60 s: ${what}`)
}

/** A file system of its own, so that it may be filled; false, and skipped, where this user may not mount one. */
function smallDisk(t: TestContext, at: string): boolean {
  mkdirSync(at)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', at])
  if (mounted.status !== 0) {
    console.log(`SKIPPED: ${t.name}; no right to mount a small disk (1)`)
    t.skip('no right to mount a small disk')
    return false
  }
  return true
}

/** Takes all room that is left. */
function fill(folder: string, file: string): void {
  const { bavail, bsize } = statfsSync(folder)
  try {
    writeFileSync(file, Buffer.alloc(bavail * bsize, 1))
  } catch {
    // Something else took the rest first; full is full.
  }
}
