import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import mysql from 'mysql2/promise'
import { ownServer, whyNoServers } from '../core/database/own-servers.js'
import { type Mosquitto, needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

/** A password in a file of its own folder. */
function passwordFile(password: string) {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-passwords-'))
  // The broker reads there too, as another user.
  chmodSync(folder, 0o755)
  const path = join(folder, 'secret')
  /** As secret stores do: written beside and renamed. */
  const set = (text: string) => {
    writeFileSync(`${path}.new`, `${text}\n`)
    renameSync(`${path}.new`, path)
  }
  set(password)
  return { folder, path, set }
}

/** A product that reads its password from a file. At the end it ends cleanly, and then what it used. */
async function started(
  t: TestContext,
  {
    broker,
    folder,
    env,
    after,
  }: { broker: Mosquitto; folder: string; env: Record<string, string>; after?: () => Promise<void> },
) {
  const project = makeProject()
  const port = String(broker.port)
  const common = { MQTT_BROKER: '127.0.0.1', MQTT_PORT: port, HTTP_PORT: String(await freePort()), LOG_FORMAT: 'json' }
  const product = Product.spawn(project.root, { env: { ...common, ...env } })
  t.after(async () => {
    const code = await product.stop()
    project.remove()
    await broker.stop()
    await after?.()
    rmSync(folder, { recursive: true })
    assert.equal(code, 0, product.text)
  })
  await product.untilReady()
  const { pid } = product.run
  const wentOn = () => {
    assert.equal(product.run.pid, pid)
    assert.ok(!/first-password|second-password/.test(product.text), 'no password in the log')
  }
  return { product, wentOn }
}

test('a broker password that changes in its file is used by workers and gateway without a restart', async (t) => {
  if (!needsMosquitto(t)) return
  const { folder, path, set } = passwordFile('first-password')
  const passwords = join(folder, 'passwords')
  const setAtBroker = (text: string) =>
    execFileSync('mosquitto_passwd', ['-c', '-b', passwords, 'plant', text], { stdio: 'pipe' })
  setAtBroker('first-password')
  const broker = await startMosquitto([`password_file ${passwords}`, 'allow_anonymous false'])
  const env = { MQTT_USERNAME: 'plant', MQTT_PASSWORD_FILE: path }
  const { product, wentOn } = await started(t, { broker, folder, env })
  const workers = async () =>
    ((await product.json('/api/admin/workers')).body as unknown as { pid: number }[]).map((one) => one.pid)
  const before = await workers()
  const from = product.text.length
  const log = () => product.text.slice(from)
  set('second-password')
  await until(
    () => log().includes('MQTT_PASSWORD applied'),
    () => `the new password was not taken:\n${log()}`,
  )
  setAtBroker('second-password')
  // All connections go, and only the new password is let in.
  await broker.restart()
  await until(
    async () => log().includes('connection to the broker lost') && (await product.fetch('/ready')).status === 200,
    () => `not ready with the new password:\n${log()}`,
  )
  assert.deepEqual(await workers(), before, 'no worker was replaced')
  wentOn()
})

test('a database password that changes in its file is used by the gateway and by workers without a restart', async (t) => {
  if (!needsMosquitto(t)) return
  const missing = await whyNoServers()
  if (missing !== undefined) return t.skip(missing)
  const server = await ownServer('mysql')
  await server.start()
  const { folder, path, set } = passwordFile('first-password')
  const admin = await mysql.createConnection({ uri: server.config.url })
  await admin.query("create user plant identified by 'first-password'")
  await admin.query('grant all on own.* to plant')
  const { product, wentOn } = await started(t, {
    broker: await startMosquitto(['allow_anonymous true']),
    folder,
    env: {
      DB_CONNECTION: 'mysql',
      DB_HOST: '127.0.0.1',
      DB_PORT: new URL(server.config.url).port,
      DB_NAME: 'own',
      DB_USER: 'plant',
      DB_PASS_FILE: path,
    },
    after: async () => {
      await admin.end()
      await server.remove()
    },
  })
  const connections = async () =>
    (
      (await admin.query("select id from information_schema.processlist where user = 'plant'"))[0] as { id: number }[]
    ).map(({ id }) => id)
  await admin.query("alter user plant identified by 'second-password'")
  set('second-password')
  await until(
    () => product.text.includes('DB_PASS applied'),
    () => `the new password was not taken:\n${product.text}`,
  )
  const old = await connections()
  for (const id of old) await admin.query('kill ?', [id]).catch(() => {}) // gone by itself
  await until(
    async () =>
      (await connections()).some((id) => !old.includes(id)) && (await product.json('/api/events')).status === 200,
    () => `the database is not used with the new password:\n${product.text}`,
  )
  wentOn()
})
