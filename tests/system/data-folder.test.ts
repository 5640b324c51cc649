import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { until } from '../core/support/until.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

const DISK_MIB = 24

test('a disk that fills up: /health says so, nothing crashes, and all is well when there is room again', async (t) => {
  const project = smallProject(t)
  if (project === undefined) return
  const { data } = project
  const running = await project.start('info')
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
  await until(
    async () => /^writes are refused: nothing can be audited/.test(String((await health(running, 503)).details.writes)),
    '/health says that writes are refused',
  )
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
  await until(
    async () => Object.keys((await health(running, 200)).details).length === 0,
    '/health says nothing any more: what waited on the disk is in the database',
  )
  assert.equal((await write(2)).status, 200)
  await until(async () => {
    const { body } = await running.json('/api/readings?device_id=office-eng&point=temperature&limit=1')
    const [newest] = body.items as { timestamp: string }[]
    return newest !== undefined && Date.parse(newest.timestamp) > roomAgain + 1_000
  }, 'readings are stored again')
  await until(async () => {
    const { body } = await running.json('/api/audit?limit=1')
    return JSON.stringify((body.items as { after: unknown }[])[0]?.after) === '[2]'
  }, 'the write is the last that is audited')
  assert.equal(await running.stop(), 0, running.text)
  assert.match(running.text, /stopping: intake ends[\s\S]*INFO {2}stopped seconds=\d/)
  assert.doesNotMatch(running.text, /"type":"/, 'errors are said in words')
  assert.doesNotMatch(running.text, /Readings were lost|cannot rollback|A reading was refused/)
})

for (const { what, refuse, allow, why } of [
  {
    what: 'a disk that is full',
    refuse: (data: string) => fill(data, join(data, 'ballast')),
    allow: (data: string) => rmSync(join(data, 'ballast')),
    why: /ENOSPC/,
  },
  {
    what: 'a data folder that is read-only',
    refuse: (data: string) => remount(data, 'ro'),
    allow: (data: string) => remount(data, 'rw'),
    why: /EROFS/,
  },
]) {
  test(`${what} after a power cut: the product starts, polls and reads, says that writes are refused, and mends itself`, async (t) => {
    const project = smallProject(t)
    if (project === undefined) return
    const { data } = project
    const before = await project.start('warn')
    assert.equal((await before.post('/api/devices/office-eng/registers/write', { address: 10, value: 7 })).status, 200)
    const cut = once(before.child, 'close')
    before.child.kill('SIGKILL')
    await cut
    refuse(data)

    const running = await project.start('warn')
    const unable = await health(running, 503)
    assert.match(String(unable.details.writes), /writes are refused: nothing can be audited/)
    assert.match(String(unable.details.disk), why)
    assert.match(running.text, /! what must be kept is refused until the disk takes it/)
    const write = (value: number) => running.post('/api/devices/office-eng/registers/write', { address: 10, value })
    for (const value of [1, 2]) {
      const refused = await write(value)
      assert.deepEqual([refused.status, refused.body.code], [503, 'AUDIT_UNAVAILABLE'])
    }
    const live = await running.json('/api/devices/office-eng/registers?address=10')
    assert.deepEqual([live.status, (live.body.values as number[])[0] === 1], [200, false], 'nothing was written')
    const told = running.text.match(/the disk does not take what must be kept/g)
    assert.equal(told?.length, 1, 'once, however many spools there are')

    allow(data)
    await until(async () => {
      const { status, body } = await running.json('/health')
      return status === 200 && Object.keys(body.details as object).length === 0
    }, '/health is ok by itself')
    assert.equal((await write(3)).status, 200)
    let done: unknown[] = []
    await until(async () => {
      const { body } = await running.json('/api/audit?limit=100')
      const items = body.items as { outcome: string; after: unknown }[]
      done = items.filter(({ outcome }) => outcome === 'ok').map(({ after }) => after)
      return done.length > 1
    }, 'what was done is audited')
    assert.deepEqual(done, [[3], [7]])
    assert.equal(await running.stop(), 0, running.text)
    assert.doesNotMatch(running.text, /INTERNAL|left unhandled/)
  })
}

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

/** A project whose data folder is a file system of its own, so that it may be filled; undefined, and skipped, where this user may not mount one. */
function smallProject(t: TestContext) {
  const project = makeProject()
  const data = join(project.root, 'data')
  let product: Product | undefined
  t.after(async () => {
    await product?.stop()
    spawnSync('umount', ['-l', data])
    project.remove()
  })
  mkdirSync(data)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', data])
  if (mounted.status !== 0) {
    console.log(`SKIPPED: ${t.name}; no right to mount a small disk (1)`)
    t.skip('no right to mount a small disk')
    return undefined
  }
  const start = async (logLevel: string) => {
    product = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true', LOG_LEVEL: logLevel } })
    return product
  }
  return { data, start }
}

function remount(data: string, how: 'ro' | 'rw'): void {
  assert.equal(spawnSync('mount', ['-o', `remount,${how}`, data]).status, 0)
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
