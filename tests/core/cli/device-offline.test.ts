import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { main } from '../../../core/cli/program.js'
import { busLease } from '../../../core/kernel/bus-leases.js'
import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { onEachDatabase, openStore, ownDatabase } from '../database/databases.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

/** A project whose one device is a virtual one on a real socket; nothing runs in it. */
async function plant(t: TestContext) {
  const device = await startVirtualDevice({ units: { 1: { holding: [7, 8, 9] } } })
  t.after(() => device.close())
  const file = `export default {
    devices: [{
      device_id: 'boiler', host: '127.0.0.1', port: ${device.port}, slave_id: 1, framer: 'SOCKET', timeout: 10,
      points: [{ name: 'limit', address: 1, scale: 0.1, unit: '°C', min: 0, max: 80 }],
    }],
    targets: [],
  }`
  return { device, root: folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' }) }
}

test('while nothing runs the command opens the bus itself', async (t) => {
  const { root, device } = await plant(t)
  assert.match(
    (await command(root, ['device:list'])).out,
    /^boiler +127\.0\.0\.1:\d+ +SOCKET +1 +yes +unknown +yes +1$/m,
  )
  const read = await command(root, ['device:read', 'boiler', '0', '-n', '3', '--json'])
  assert.equal(read.code, 0, read.err)
  assert.deepEqual((JSON.parse(read.out) as { values: number[] }).values, [7, 8, 9])
  const points = await command(root, ['device:read', 'boiler'])
  assert.match(points.out, /^limit +0\.8 +°C +good +-$/m)
  const write = await command(root, ['device:write', 'boiler', 'limit', '65.5'])
  assert.deepEqual([write.code, write.out], [0, 'boiler limit = 65.5'])
  assert.equal(device.get(1, 'holding', 1), 655)
})

test('a value that was rounded is shown as it was written', async (t) => {
  const { root, device } = await plant(t)
  const write = await command(root, ['device:write', 'boiler', 'limit', '21.55'])
  assert.deepEqual([write.code, write.out], [0, 'boiler limit = 21.6 (asked for 21.55)'])
  assert.equal(device.get(1, 'holding', 1), 216)
  const json = JSON.parse((await command(root, ['device:write', 'boiler', 'limit', '30.04', '--json'])).out) as object
  assert.deepEqual(json, { device_id: 'boiler', status: 'ok', point: 'limit', value: 30.04, written: 30 })
  const exact = JSON.parse((await command(root, ['device:write', 'boiler', 'limit', '30', '--json'])).out) as object
  assert.deepEqual(exact, { device_id: 'boiler', status: 'ok', point: 'limit', value: 30 })
})

test('who waits for a silent device is told, and need not wait', async (t) => {
  const { root, device } = await plant(t)
  for (const what of [['1'], ['limit'], []]) {
    const stop = new AbortController()
    device.faults.set('*', { kind: 'deaf' })
    const err: string[] = []
    const code = await main(['--root', root, 'device:read', 'boiler', ...what], {
      env: {},
      terminal: true,
      signal: stop.signal,
      out: () => {},
      err: (text) => {
        err.push(text)
        stop.abort()
      },
    })
    assert.deepEqual([code, err[0]], [EXIT.unavailable, 'Waiting for device boiler. Ctrl-C gives up.'])
    assert.match(err[1]!, /REQUEST_CANCELLED/)
  }
})

test('a value is what its point takes: digits may be a text, a name, or more than a double holds', async (t) => {
  const device = await startVirtualDevice({ units: { 1: {} } })
  t.after(() => device.close())
  const points = [
    { name: 'serial', address: 0, type: 'string', length: 2 },
    { name: 'bytes', address: 10, type: 'raw', length: 2 },
    { name: 'gear', address: 20, enum: { '1': 7, true: 8, off: 0 } },
    { name: 'total', address: 30, type: 'uint64' },
    { name: 'fine', address: 40, type: 'int64', scale: 0.001 },
  ]
  const plant = { devices: [{ device_id: 'd', host: '127.0.0.1', port: device.port, framer: 'SOCKET', points }] }
  const file = `export default ${JSON.stringify(plant)}`
  const root = folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' })
  for (const [point, text, address, words] of [
    ['serial', '0815', 0, [0x3038, 0x3135]],
    ['serial', '1234', 0, [0x3132, 0x3334]],
    ['serial', '"1"', 0, [0x3100, 0]],
    ['bytes', '12345678', 10, [0x1234, 0x5678]],
    ['bytes', '123456e1', 10, [0x1234, 0x56e1]],
    ['gear', '1', 20, [7]],
    ['gear', 'true', 20, [8]],
    ['gear', '0', 20, [0]],
    ['total', '18446744073709551615', 30, [0xffff, 0xffff, 0xffff, 0xffff]],
    ['total', '9007199254740993', 30, [0x0020, 0, 0, 1]],
    ['fine', '-4503599627370495.123', 40, [0xc180, 0, 0, 0x036d]],
  ] as const) {
    const { code, err } = await command(root, ['device:write', 'd', point, text])
    assert.equal(code, 0, `${point} ${text}: ${err}`)
    const held = words.map((_, at) => device.get(1, 'holding', address + at))
    assert.deepEqual(held, words, `${point} ${text}`)
  }
})

test('what the field side refuses ends with 5, a device that is not there with 6', async (t) => {
  const { root, device } = await plant(t)
  const high = await command(root, ['device:write', 'boiler', 'limit', '99'])
  assert.equal(high.code, EXIT.refused)
  assert.match(high.err, /VALUE_OUT_OF_RANGE/)
  assert.match((await command(root, ['device:read', 'nobody', '0'])).err, /DEVICE_UNKNOWN/)
  await device.close()
  const away = await command(root, ['device:read', 'boiler', '0'])
  assert.equal(away.code, EXIT.unavailable)
})

test('the virtual device of demo mode is not looked for while nothing runs: another device may be at its address', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { holding: [7] } } })
  t.after(() => device.close())
  const file = `export default { devices: [{
    device_id: 'office', host: '127.0.0.1', port: ${device.port}, framer: 'SOCKET', options: { virtual: true },
  }], targets: [] }`
  const root = folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' })
  const write = await command(root, ['device:write', 'office', '0', '1'])
  assert.match(write.err, /NOT_RUNNING: Device office is the virtual device of demo mode[\s\S]*routemq --run/)
  assert.equal(write.code, EXIT.notRunning)
  assert.equal(device.get(1, 'holding', 0), 7)
  assert.match((await command(root, ['device:scan', 'office'])).err, /NOT_RUNNING/)
  assert.equal(device.requests, 0)
})

test('a run file that cannot be read may be that of a running product: no bus is opened beside it', async (t) => {
  const { root, device } = await plant(t)
  mkdirSync(join(root, '.routemq', 'run.json'), { recursive: true })
  const read = await command(root, ['device:read', 'boiler', '0'])
  assert.match(read.err, /RUN_FILE_UNREADABLE/)
  assert.equal(read.code, EXIT.refused)
  assert.match((await command(root, ['doctor'])).out, /product +error/)
  assert.equal(device.requests, 0)
})

test('a lock that cannot be made leaves the bus closed', async (t) => {
  const { root, device } = await plant(t)
  // Stands where the folder of locks would be.
  mkdirSync(join(root, 'data'))
  writeFileSync(join(root, 'data', 'buses'), '')
  const read = await command(root, ['device:write', 'boiler', '0', '1'])
  assert.match(read.err, /SPOOL_FAILED: Bus .* its lease cannot be had: E[\s\S]*Check the disk/)
  assert.equal(read.code, EXIT.unavailable)
  const scan = await command(root, ['device:scan', 'boiler'])
  assert.match(scan.err, /SPOOL_FAILED/)
  assert.equal(device.get(1, 'holding', 0), 7)
})

onEachDatabase((kind) => {
  if (kind === 'sqlite') return

  test(`${kind}: a command with the instance of the product does not open what that holds, nor free it`, async (t) => {
    const { root, device } = await plant(t)
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    if (own.config.kind === 'sqlite') throw new Error('no server')
    const env = { DATABASE_URL: own.config.url, ROUTEMQ_INSTANCE: 'plant-a' }
    const early = await command(root, ['device:read', 'boiler', '0'], env)
    assert.match(early.err, /DATABASE_SCHEMA[\s\S]*routemq migrate/)
    const store = await openStore(own.config)
    t.after(() => store.close())
    const bus = `127.0.0.1:${device.port}`
    await store.devices.insert({ device_id: 'boiler', host: '127.0.0.1', port: device.port, framer: 'SOCKET' })
    assert.equal((await store.leases.acquire(busLease(bus), 'plant-a', 60_000)).held, true)
    const read = await command(root, ['device:read', 'boiler', '0'], env)
    assert.match(read.err, /BUS_STANDBY[\s\S]*plant-a owns it/)
    assert.equal(device.requests, 0)
    assert.deepEqual(
      (await store.leases.list()).map(({ name, owner }) => [name, owner]),
      [[busLease(bus), 'plant-a']],
    )
    await store.leases.release(busLease(bus), 'plant-a')
    assert.equal((await command(root, ['device:read', 'boiler', '0'], env)).code, EXIT.ok)
    assert.deepEqual(
      (await store.leases.list()).map(({ name, owner }) => [name, owner]),
      [[busLease(bus), '']],
    )
  })

  test(`${kind}: while the database is away no bus is opened on the word of the application's file`, async (t) => {
    const { root, device } = await plant(t)
    const own = await ownDatabase(kind)
    if (own.config.kind === 'sqlite') throw new Error('no server')
    await own.drop()
    const write = await command(root, ['device:write', 'boiler', '0', '1'], { DATABASE_URL: own.config.url })
    assert.match(write.err, /DATABASE_UNAVAILABLE/)
    assert.equal(write.code, EXIT.unavailable)
    assert.equal(device.requests, 0)
  })
})
