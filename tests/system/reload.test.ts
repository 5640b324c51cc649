import assert from 'node:assert/strict'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { RestClient } from '../e2e/support/rest-client.js'

const OLD = 'old-key-of-sixteen'
const NEW = 'new-key-of-sixteen'

/** Code of the application that does not load with every `.env`. */
const PICKY = `import { Router } from 'routemq'

if (process.env.LINE === 'none') throw new Error('there is no such line')
export default new Router()
`

describe('the configuration changes while the product runs', () => {
  let project: ReturnType<typeof makeProject>
  let product: Product
  const env: Record<string, string> = { HTTP_API_KEYS: OLD, LOG_FORMAT: 'json' }
  const asked = (key: string) => new RestClient(product.run.http!.url, { 'x-api-key': key })
  const pids = async () => {
    const { body } = await product.json('/api/admin/workers')
    return (body as unknown as { pid: number; state: string }[]).map(({ pid }) => pid)
  }

  /** As editors do: written beside and renamed. */
  function write(name: string, text: string): void {
    writeFileSync(join(project.root, `${name}.new`), text)
    renameSync(join(project.root, `${name}.new`), join(project.root, name))
  }
  const writeEnv = () =>
    write(
      '.env',
      Object.entries({ ...env, ROUTEMQ_DEMO: 'true' })
        .map((pair) => pair.join('='))
        .join('\n'),
    )

  /** The log line that matches and comes after `from` characters of output. */
  async function logged(pattern: RegExp, from: number): Promise<Record<string, unknown>> {
    for (const startedAt = performance.now(); performance.now() - startedAt < 60_000; await pause(50)) {
      const line = product.text
        .slice(from)
        .split('\n')
        .slice(0, -1) // the last is not whole yet
        .find((text) => pattern.test(text))
      if (line !== undefined) return JSON.parse(line)
    }
    throw new Error(`not in the log: ${pattern}\n${product.text.slice(from)}`)
  }

  before(async () => {
    project = makeProject({ 'routers/picky.ts': PICKY })
    writeEnv()
    product = await Product.start(project.root)
  })
  after(async () => {
    const code = await product?.stop()
    project?.remove()
    assert.equal(code, 0, product?.text)
  })

  test('a key in .env is exchanged: the old one is refused and the new one let in, without a restart', async () => {
    assert.equal((await asked(OLD).get('/api/devices')).status, 200)
    const { pid } = product.run
    const from = product.text.length
    env.HTTP_API_KEYS = NEW
    env.HTTP_JWT_SECRET = 's'.repeat(40)
    writeEnv()
    const line = await logged(/HTTP_API_KEYS, HTTP_JWT_SECRET applied/, from)
    assert.deepEqual(line.applied, ['HTTP_API_KEYS', 'HTTP_JWT_SECRET'])
    assert.equal((await asked(OLD).get('/api/devices')).status, 401)
    assert.equal((await asked(NEW).get('/api/devices')).status, 200)
    assert.equal(product.run.pid, pid)
    assert.ok(!product.text.includes(NEW) && !product.text.includes(env.HTTP_JWT_SECRET), 'no secret in the log')
  })

  test('an invalid file changes nothing, and the log names each mistake', async () => {
    const from = product.text.length
    write('.env', `HTTP_API_KEYS=${OLD}\nLOG_LEVEL=loud\nMODBUS_WRITE_ENABLED=perhaps\n`)
    const line = JSON.stringify(await logged(/was not taken/, from))
    for (const expected of ['LOG_LEVEL', 'loud', 'MODBUS_WRITE_ENABLED', 'perhaps'])
      assert.ok(line.includes(expected), line)
    assert.equal((await asked(OLD).get('/api/devices')).status, 401)
    assert.equal((await asked(NEW).get('/api/devices')).status, 200)
    assert.equal((await product.fetch('/ready')).status, 200)
  })

  test('a new configuration file is seen; what it switches off is off with the next request', async () => {
    const from = product.text.length
    writeEnv()
    write('routemq.config.yaml', 'modbus:\n  write_enabled: false\npoller:\n  enabled: false\n')
    await logged(/MODBUS_WRITE_ENABLED, POLL_ENABLED applied/, from)
    const refused = await asked(NEW).send('POST', '/api/devices/office-eng/registers/write', { address: 10, value: 1 })
    assert.deepEqual([refused.status, refused.body.code], [403, 'WRITE_DISABLED'])
    const health = await product.json('/health')
    assert.equal((health.body.services as { poller: string }).poller, 'disabled')
    const polled = async () =>
      ((await product.json('/api/metrics')).body.polling as { total_cycles: number }).total_cycles
    // What was under way may end.
    let before = -1
    for (let looks = 0; before !== (await polled()); looks += 1) {
      assert.ok(looks < 5, 'nothing is polled any more')
      before = await polled()
      await pause(1_500)
    }
  })

  test('SIGHUP reads it again; a removed file gives back the defaults', async () => {
    const quiet = product.text.length
    product.child.kill('SIGHUP')
    await logged(/nothing changed/, quiet)
    const from = product.text.length
    rmSync(join(project.root, 'routemq.config.yaml'))
    product.child.kill('SIGHUP')
    await logged(/MODBUS_WRITE_ENABLED, POLL_ENABLED applied/, from)
    const written = await asked(NEW).send('POST', '/api/devices/office-eng/registers/write', { address: 10, value: 33 })
    assert.equal(written.status, 200, written.text)
  })

  test('what only new workers see rolls the workers; the log level holds for them and for the gateway', async () => {
    const old = await pids()
    const from = product.text.length
    env.LOG_LEVEL = 'debug'
    env.MQTT_ACK_HOLD = '3s'
    writeEnv()
    const line = await logged(/workers restart in turn for MQTT_ACK_HOLD, LOG_LEVEL/, from)
    assert.deepEqual(line.workers, ['MQTT_ACK_HOLD', 'LOG_LEVEL'])
    await logged(/all workers run with the new configuration/, from)
    const fresh = await pids()
    assert.equal(fresh.length, old.length)
    for (const pid of fresh) assert.ok(!old.includes(pid), `${pid} is a new process`)
    assert.equal((await product.fetch('/ready')).status, 200)
    await asked(NEW).get('/api/devices')
    await logged(/"level":"debug".*"path":"\/api\/devices"/, from)
  })

  test('what workers cannot take is taken back everywhere, and taken when it is mended', async () => {
    const old = await pids()
    const from = product.text.length
    const before = { ...env }
    Object.assign(env, { LINE: 'none', MQTT_ACK_HOLD: '4s', HTTP_API_KEYS: OLD })
    writeEnv()
    const line = await logged(/was not taken; what was in force before stays in force/, from)
    assert.match(JSON.stringify(line), /WORKER_LOST/)
    assert.equal((await asked(OLD).get('/api/devices')).status, 401)
    assert.equal((await asked(NEW).get('/api/devices')).status, 200)
    assert.equal((await product.fetch('/ready')).status, 200, 'the worker that could not start is back')
    const fresh = await pids()
    assert.equal(fresh.filter((pid) => old.includes(pid)).length, old.length - 1, 'the others were left alone')
    const mended = product.text.length
    Object.assign(env, before, { LINE: '7', MQTT_ACK_HOLD: '4s' })
    writeEnv()
    await logged(/all workers run with the new configuration/, mended)
    const kept = await pids()
    for (const pid of kept) assert.ok(!fresh.includes(pid), `${pid} is a new process`)
    // A slot that is new and cannot start goes again.
    const more = product.text.length
    Object.assign(env, { LINE: 'none', ROUTEMQ_WORKERS: '3' })
    writeEnv()
    await logged(/was not taken; what was in force before stays in force/, more)
    assert.deepEqual(await pids(), kept)
    assert.equal((await product.fetch('/ready')).status, 200)
    const last = product.text.length
    env.LINE = '7'
    delete env.ROUTEMQ_WORKERS
    writeEnv()
    await logged(/nothing changed/, last)
  })

  test('what needs a restart is named and stays as it is', async () => {
    const { url } = product.run.http!
    const from = product.text.length
    env.HTTP_PORT = '1'
    env.HTTP_API_KEYS = OLD
    writeEnv()
    const line = await logged(/HTTP_PORT will apply at the next start/, from)
    assert.deepEqual([line.applied, line.needs_restart], [['HTTP_API_KEYS'], ['HTTP_PORT']])
    assert.equal((await new RestClient(url, { 'x-api-key': OLD }).get('/api/devices')).status, 200)
  })

  test('each of them stands in the audit, newest first', async () => {
    const entries = async () =>
      (await product.json('/api/audit')).body.items as {
        action: string
        outcome: string
        actor: object
        after: object
      }[]
    // The entry follows the line in the log.
    const reloads = async () => (await entries()).filter(({ action }) => action === 'config.reload')
    for (const startedAt = performance.now(); ; await pause(50)) {
      const [newest] = await reloads()
      if (JSON.stringify(newest?.after).includes('HTTP_PORT')) break
      assert.ok(performance.now() - startedAt < 30_000, JSON.stringify(await reloads()))
    }
    const found = await reloads()
    const outcomes = found.map(({ outcome }) => outcome)
    assert.deepEqual([outcomes[0], outcomes.at(-1)], ['ok', 'ok'])
    for (const outcome of ['rejected', 'refused']) assert.ok(outcomes.includes(outcome), outcome)
    assert.deepEqual(found[0]!.actor, { kind: 'app', name: 'file changed' })
    assert.deepEqual(found[0]!.after, { applied: ['HTTP_API_KEYS'], workers: [], needs_restart: ['HTTP_PORT'] })
    assert.ok(!JSON.stringify(found).includes(OLD) && !JSON.stringify(found).includes(NEW), 'no secret in the audit')
  })
})
