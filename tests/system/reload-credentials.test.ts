import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import mysql from 'mysql2/promise'
import { ownServer, whyNoServers } from '../core/database/own-servers.js'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

test('a broker password that changes in its file is used by workers and gateway without a restart', async (t) => {
  if (!needsMosquitto(t)) return
  const folder = mkdtempSync(join(tmpdir(), 'routemq-passwords-'))
  chmodSync(folder, 0o755)
  const passwords = join(folder, 'passwords')
  const secret = join(folder, 'mqtt')
  /** As secret stores do: written beside and renamed. */
  const setSecret = (text: string) => {
    writeFileSync(`${secret}.new`, `${text}\n`)
    renameSync(`${secret}.new`, secret)
  }
  const setAtBroker = (text: string) =>
    execFileSync('mosquitto_passwd', ['-c', '-b', passwords, 'plant', text], { stdio: 'pipe' })
  setAtBroker('first-password')
  setSecret('first-password')
  const broker = await startMosquitto([`password_file ${passwords}`, 'allow_anonymous false'])
  const project = makeProject()
  const product = Product.spawn(project.root, {
    env: {
      MQTT_BROKER: '127.0.0.1',
      MQTT_PORT: String(broker.port),
      MQTT_USERNAME: 'plant',
      MQTT_PASSWORD_FILE: secret,
      HTTP_PORT: String(await freePort()),
      LOG_FORMAT: 'json',
    },
  })
  try {
    await product.untilReady()
    const { pid } = product.run
    const workers = async () =>
      ((await product.json('/api/admin/workers')).body as unknown as { pid: number }[]).map((one) => one.pid)
    const before = await workers()
    const from = product.text.length
    const log = () => product.text.slice(from)
    setSecret('second-password')
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
    assert.equal(product.run.pid, pid)
    assert.ok(!/first-password|second-password/.test(product.text), 'no password in the log')
  } finally {
    const code = await product.stop()
    project.remove()
    await broker.stop()
    rmSync(folder, { recursive: true })
    assert.equal(code, 0, product.text)
  }
})

test('a database password that changes in its file is used by the gateway and by workers without a restart', async (t) => {
  if (!needsMosquitto(t)) return
  const missing = await whyNoServers()
  if (missing !== undefined) return t.skip(missing)
  const server = await ownServer('mysql')
  await server.start()
  const folder = mkdtempSync(join(tmpdir(), 'routemq-passwords-'))
  const secret = join(folder, 'database')
  writeFileSync(secret, 'first-password')
  const admin = await mysql.createConnection({ uri: server.config.url })
  await admin.query("create user plant identified by 'first-password'")
  await admin.query('grant all on own.* to plant')
  const broker = await startMosquitto(['allow_anonymous true'])
  const project = makeProject()
  const product = Product.spawn(project.root, {
    env: {
      MQTT_BROKER: '127.0.0.1',
      MQTT_PORT: String(broker.port),
      DB_CONNECTION: 'mysql',
      DB_HOST: '127.0.0.1',
      DB_PORT: new URL(server.config.url).port,
      DB_NAME: 'own',
      DB_USER: 'plant',
      DB_PASS_FILE: secret,
      HTTP_PORT: String(await freePort()),
      LOG_FORMAT: 'json',
    },
  })
  try {
    await product.untilReady()
    const { pid } = product.run
    const connections = async () =>
      (
        (await admin.query("select id from information_schema.processlist where user = 'plant'"))[0] as { id: number }[]
      ).map(({ id }) => id)
    await admin.query("alter user plant identified by 'second-password'")
    writeFileSync(`${secret}.new`, 'second-password')
    renameSync(`${secret}.new`, secret)
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
    assert.equal(product.run.pid, pid)
    assert.ok(!/first-password|second-password/.test(product.text), 'no password in the log')
  } finally {
    const code = await product.stop()
    project.remove()
    await broker.stop()
    await admin.end()
    await server.remove()
    rmSync(folder, { recursive: true })
    assert.equal(code, 0, product.text)
  }
})
