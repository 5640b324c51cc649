import assert from 'node:assert/strict'
import fs, { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkDataFolder, checkNode } from '../../../core/cli/doctor/machine.js'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { needsMosquitto, startMosquitto } from '../mqtt/kit.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

interface Finding {
  readonly check: string
  readonly state: string
  readonly text: string
}

async function doctor(root: string, env: Readonly<Record<string, string>>) {
  const { code, out, err } = await command(root, ['doctor', '--json'], env)
  assert.ok(out.startsWith('{'), out + err)
  const { status, findings } = JSON.parse(out) as { status: string; findings: Finding[] }
  const of = (check: string) => {
    const found = findings.find((one) => one.check === check)
    assert.ok(found !== undefined, `${check} among ${findings.map((one) => one.check).join(', ')}`)
    return found
  }
  return { code, status, findings, of }
}

async function taken(): Promise<{ port: number; close(): void }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as { port: number }).port, close: () => void server.close() }
}

/** Ports of the system's choice, so that other tests do not meet these checks. */
const CALM = { ROUTEMQ_DEMO: 'false', HTTP_PORT: '0', MQTT_PORT: '0' }

test('a fresh folder: all is well, and looking makes nothing', async (t) => {
  const root = folder(t)
  const { code, status, findings, of } = await doctor(root, CALM)
  assert.deepEqual(
    findings.filter(({ state, check }) => state === 'error' && check !== 'disk'),
    [],
  )
  if (of('disk').state !== 'error') assert.deepEqual([code, status], [0, 'ok'])
  for (const check of ['node', 'settings', 'data folder', 'clock', 'broker', 'database', 'port of the sidecar'])
    assert.equal(of(check).state === 'error', false, check)
  assert.ok(!existsSync(join(root, 'data')))
})

test('settings: every mistake is a finding, and the exit code says so', async (t) => {
  const { code, status, findings } = await doctor(folder(t), { HTTP_PORT: 'high', LOG_LEVEL: 'loud' })
  assert.deepEqual([code, status], [1, 'error'])
  const wrong = findings.filter(({ state }) => state === 'error').map(({ text }) => text)
  assert.equal(wrong.length, 2)
  assert.ok(
    wrong.some((text) => text.startsWith('HTTP_PORT is high')) && wrong.some((text) => text.startsWith('LOG_LEVEL')),
  )
})

test('ports: one that was set and is taken is an error, one that may move a warning', async (t) => {
  const other = await taken()
  t.after(() => other.close())
  const set = await doctor(folder(t), { ...CALM, HTTP_PORT: String(other.port) })
  assert.deepEqual([set.code, set.of('port of the sidecar').state], [1, 'error'])
  assert.match(set.of('port of the sidecar').text, new RegExp(`${other.port} on 127.0.0.1 cannot be used: EADDRINUSE`))
})

test('broker: nobody there, one without MQTT 5, and mosquitto with its queue', async (t) => {
  const gone = await taken()
  gone.close()
  const away = await doctor(folder(t), { ...CALM, MQTT_BROKER: '127.0.0.1', MQTT_PORT: String(gone.port) })
  assert.deepEqual([away.code, away.of('broker').state], [1, 'error'])
  assert.match(away.of('broker').text, /cannot be reached/)

  const old = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  t.after(() => old.close())
  const three = await doctor(folder(t), { ...CALM, MQTT_BROKER: '127.0.0.1', MQTT_PORT: String(old.port) })
  assert.deepEqual([three.of('broker').state, three.of('broker version').state], ['ok', 'warning'])

  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const five = await doctor(folder(t), { ...CALM, MQTT_BROKER: '127.0.0.1', MQTT_PORT: String(mosquitto.port) })
  assert.match(five.of('broker').text, /speaks MQTT 5, mosquitto/)
  assert.match(five.of('broker queue').text, /max_queued_messages/)
})

test('database: a server that is away, a file that is none, migrations that have not run', async (t) => {
  const gone = await taken()
  gone.close()
  const away = await doctor(folder(t), { ...CALM, DATABASE_URL: `postgres://u:hidden-word@127.0.0.1:${gone.port}/x` })
  assert.deepEqual([away.code, away.of('database').state], [1, 'error'])
  assert.ok(!JSON.stringify(away.findings).includes('hidden-word'))

  const root = folder(t, { 'data/routemq.db': 'this is no database, and long enough to be read as a header of one.' })
  const broken = await doctor(root, CALM)
  assert.deepEqual([broken.code, broken.of('database').state], [1, 'error'])

  const empty = folder(t, { 'data/routemq.db': '' })
  const fresh = await doctor(empty, CALM)
  assert.equal(fresh.of('database').state, 'ok')
  assert.match(fresh.of('migrations').text, /0001-initial.* will run with the next start/)
})

test('a data folder that is a file, and a clock that was set back', async (t) => {
  const root = folder(t, { data: 'a file' })
  const { code, of } = await doctor(root, CALM)
  assert.deepEqual([code, of('data folder').state], [1, 'error'])

  const later = folder(t)
  mkdirSync(join(later, 'data'))
  const file = join(later, 'data', 'kept')
  writeFileSync(file, '')
  const tomorrow = new Date(Date.now() + 86_400_000)
  utimesSync(file, tomorrow, tomorrow)
  const clock = (await doctor(later, CALM)).of('clock')
  assert.equal(clock.state, 'warning')
  assert.match(clock.text, /was it set back/)
})

test('serial lines of active devices: one that is missing, one that is none', async (t) => {
  const root = folder(t, { 'not-a-port': 'text' })
  const devices = ['/dev/routemq-not-there', join(root, 'not-a-port')].map((path, index) => ({
    device_id: `d${index}`,
    path,
    slave_id: 1,
    baud_rate: 9_600,
  }))
  mkdirSync(join(root, 'app'))
  writeFileSync(join(root, 'app/devices.mjs'), `export default ${JSON.stringify({ devices, targets: [] })}\n`)
  const { code, of } = await doctor(root, CALM)
  assert.equal(code, 1)
  assert.match(of('serial /dev/routemq-not-there').text, /not there/)
  assert.match(of(`serial ${join(root, 'not-a-port')}`).text, /no serial port/)
})

test('the table has a line for each finding; an old node is an error', async (t) => {
  const { out } = await command(folder(t), ['doctor'], CALM)
  assert.match(out, /^check +state +finding\nnode +ok +v\d+/)
  assert.equal(checkNode('v20.18.3').state, 'error')
  assert.deepEqual([checkNode('v20.19.0').state, checkNode('v24.1.0').state], ['ok', 'ok'])
})

test('a full disk is told, and nothing of the trial stays', (t) => {
  const root = folder(t)
  const write = fs.writeFileSync
  t.after(syncBuiltinESMExports)
  t.mock.method(fs, 'writeFileSync', (file: string) => {
    write(file, '')
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  })
  syncBuiltinESMExports()
  const [finding] = checkDataFolder(root)
  assert.equal(finding?.state, 'error')
  assert.match(finding.text, /cannot be written: ENOSPC/)
  assert.deepEqual(readdirSync(root), [])
})
