import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { main } from '../../../core/cli/program.js'
import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../core/modbus/transport/open.js'
import { folder } from '../support/folder.js'
import { until } from '../support/until.js'
import { command } from './support.js'

/** 123456.0 as float32, and a second unit that has 20 registers. */
async function plant(t: TestContext) {
  const device = await startVirtualDevice({
    units: {
      1: {
        holding: { 0: 0x47f1, 1: 0x2000, 10: 5, 11: 5 },
        functions: { 65: (data) => Buffer.from([...data].reverse()) },
        serverId: 'boiler 9',
        identification: { 0: 'Acme', 1: 'B-9', 2: '1.4' },
      },
      7: { holding: { 3: 33 }, ranges: { holding: [[3, 5]] } },
    },
  })
  t.after(() => device.close())
  const file = `export default {
    devices: [{
      device_id: 'boiler', host: '127.0.0.1', port: ${device.port}, slave_id: 1, framer: 'SOCKET', timeout: 10, max_retries: 0,
      points: [{ name: 'load', address: 0, type: 'float32' }, { name: 'mode', address: 10 }],
    }],
    targets: [
      { device_id: 'boiler', address: 0, count: 2, interval_ms: 1000 },
      { device_id: 'boiler', address: 10, count: 1, interval_ms: 1000 },
      { device_id: 'boiler', address: 500, count: 100, interval_ms: 5000 },
    ],
  }`
  return { device, root: folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' }) }
}

test('device:plan tells each request, what it brings, and the load of the bus; nothing is opened', async (t) => {
  const { root, device } = await plant(t)
  const { code, out, err } = await command(root, ['device:plan', 'boiler', '--json'])
  assert.equal(code, 0, err)
  const plan = JSON.parse(out) as { reads: Record<string, unknown>[]; bus_load_percent: number; targets: number }
  assert.deepEqual(
    plan.reads.map(({ interval_ms, address, count, targets, unwanted }) => ({
      interval_ms,
      address,
      count,
      targets,
      unwanted,
    })),
    [
      { interval_ms: 1_000, address: 0, count: 11, targets: [1, 2], unwanted: 8 },
      { interval_ms: 5_000, address: 500, count: 100, targets: [3], unwanted: 0 },
    ],
  )
  // 5 ms a request before anything was measured: one a second and one every five.
  assert.ok(plan.bus_load_percent > 0.5 && plan.bus_load_percent < 0.8, out)
  assert.equal(device.requests, 0)
  const text = await command(root, ['device:plan', 'boiler'])
  assert.match(text.out, /^1000 ms +holding 0-10 +11 +8 +1, 2 +5\.\d\d ms$/m)
  assert.match(text.out, /% of its time/)
  assert.match((await command(root, ['device:plan', 'nobody'])).err, /DEVICE_UNKNOWN/)
})

test('device:plan of a product that runs is that of its own planner', async (t) => {
  const calls: string[] = []
  const read = { interval_ms: 1_000, register_type: 'holding', address: 0, count: 78, targets: [1, 2], unwanted: 0 }
  const plan = {
    device_id: 'boiler 1',
    bus: 'tcp:plant:502',
    targets: 2,
    reads: [{ ...read, wire_ms: 104.5 }],
    bus_load_percent: 81.5,
    warning: 'Polling takes 82 % of the time of bus tcp:plant:502',
    measured_round_trip_ms: 101.2,
  }
  const sidecar = createServer((request, response) => {
    calls.push(`${request.method} ${request.url}`)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(plan))
  }).listen(0, '127.0.0.1')
  await once(sidecar, 'listening')
  t.after(() => sidecar.close().closeAllConnections())
  const url = `http://127.0.0.1:${(sidecar.address() as AddressInfo).port}`
  const run = { pid: process.pid, version: '1', mode: 'demo', broker: { url: 'mqtt://x' }, http: { url, token: 'tok' } }
  const root = folder(t, { '.routemq/run.json': JSON.stringify(run) })
  assert.deepEqual(JSON.parse((await command(root, ['device:plan', 'boiler 1', '--json'])).out), plan)
  const { out } = await command(root, ['device:plan', 'boiler 1'])
  assert.match(out, /^1000 ms +holding 0-77 +78 +0 +1, 2 +104\.50 ms$/m)
  assert.match(out, /takes 81\.5 % of its time; requests take 101\.2 ms just now\.\nPolling takes 82 %/)
  assert.deepEqual(new Set(calls), new Set(['GET /api/admin/polling/device/boiler%201/plan']))
})

test('device:identify shows functions 17 and 43/14', async (t) => {
  const { root } = await plant(t)
  const { code, out, err } = await command(root, ['device:identify', 'boiler'])
  assert.equal(code, 0, err)
  assert.match(out, /^vendor +Acme$/m)
  assert.match(out, /^product_code +B-9$/m)
  assert.match(out, /^revision +1\.4$/m)
  assert.match(out, /^server_id +.*boiler 9/m)
})

test('device:call sends a function of the device, device:write changes bits and reads along', async (t) => {
  const { root, device } = await plant(t)
  assert.equal((await command(root, ['device:call', 'boiler', '65', '0x01', '02ff'])).out, 'ff 02 01')
  const empty = await command(root, ['device:call', 'boiler', '65', '--json'])
  assert.deepEqual(JSON.parse(empty.out), { device_id: 'boiler', function: 65, data: '' })
  assert.match((await command(root, ['device:call', 'boiler', '66'])).err, /MODBUS_ILLEGAL_FUNCTION/)
  assert.match((await command(root, ['device:call', 'boiler', '6', '000a0001'])).err, /REQUEST_INVALID/)
  assert.equal((await command(root, ['device:call', 'boiler', '65', 'abc'])).code, EXIT.usage)
  const bits = await command(root, ['device:write', 'boiler', '11', '0x0f00', '--mask', '0xff00'])
  assert.equal(bits.out, 'boiler holding 11 (40012) = 0x0f00 in the bits 0xff00')
  assert.equal(device.get(1, 'holding', 11), 0x0f05)
  const both = await command(root, ['device:write', 'boiler', '12', '8', '9', '--read', '0', '-n', '2'])
  assert.equal(both.out, 'boiler holding 12 (40013) = 8, 9; read 18417, 8192')
  assert.equal((await command(root, ['device:write', 'boiler', 'mode', '1', '--mask', '1'])).code, EXIT.usage)
})

test('device:decode shows the same registers as every type in every order', async (t) => {
  const { root } = await plant(t)
  const { out, err } = await command(root, ['device:decode', 'boiler', '0', '--json'])
  const { words, readings } = JSON.parse(out || err) as { words: number[]; readings: Record<string, unknown>[] }
  assert.deepEqual(words, [0x47f1, 0x2000, 0, 0])
  const of = (type: string) => readings.find((one) => one.type === type)!
  assert.equal(of('float32').ABCD, 123_456)
  assert.equal(of('uint32').CDAB, 0x200047f1)
  assert.equal(of('uint16').BADC, 0xf147)
  assert.equal(of('uint64').ABCD, (0x47f12000n << 32n).toString())
  assert.equal((await command(root, ['device:decode', 'boiler', '0', '-t', 'coil'])).code, EXIT.usage)
})

test('device:decode takes fewer registers of a unit that gives no four at once', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { maxRead: 2, holding: [0x47f1, 0x2000] } } })
  t.after(() => device.close())
  const file = `export default { devices: [{ device_id: 'd', host: '127.0.0.1', port: ${device.port}, framer: 'SOCKET' }] }`
  const root = folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' })
  const { out, err } = await command(root, ['device:decode', 'd', '0', '--json'])
  const { words, readings } = JSON.parse(out || err) as { words: number[]; readings: Record<string, unknown>[] }
  assert.deepEqual(words, [0x47f1, 0x2000])
  assert.equal(readings.find(({ type }) => type === 'float32')?.ABCD, 123_456)
})

test('device:scan that is interrupted says how far it came', async (t) => {
  const { root, device } = await plant(t)
  const stop = new AbortController()
  const err: string[] = []
  device.faults.choose(() => {
    stop.abort()
    return { kind: 'deaf' }
  })
  const code = await main(['--root', root, 'device:scan', 'boiler', '-u', '1-32', '--timeout', '10000'], {
    env: {},
    terminal: false,
    signal: stop.signal,
    out: () => {},
    err: (text) => void err.push(text),
  })
  assert.equal(code, EXIT.failure)
  assert.deepEqual(err, ['Interrupted after 1 of 32 addresses: what the others hold is not known.'])
})

test('device:scan finds the units of a bus and the registers of a unit', async (t) => {
  const { root, device } = await plant(t)
  // Those that are not there cost the time-out, and those that are must not miss it.
  const units = await command(root, ['device:scan', 'boiler', '-u', '6-8', '--timeout', '1500', '--json'])
  assert.deepEqual(JSON.parse(units.out || units.err), [{ unit: 7, answer: 'exception 2, illegal data address' }])
  const first = await command(root, ['device:scan', 'boiler', '-u', '1', '--timeout', '10000', '--json'])
  assert.deepEqual(JSON.parse(first.out || first.err), [{ unit: 1, answer: String(0x47f1) }])
  const registers = await command(root, ['device:scan', `127.0.0.1:${device.port}`, '-u', '7', '-r', '0-9'])
  assert.match(registers.out, /^7 +holding 3 \(40004\) +33$/m)
  assert.equal(registers.out.split('\n').length, 4, 'a header and registers 3 to 5')
  const tooMany = await command(root, ['device:scan', 'boiler', '-r', '0-60000'])
  assert.deepEqual([tooMany.code, /at most 2000/.test(tooMany.err)], [EXIT.usage, true])
  assert.equal((await command(root, ['device:scan', 'boiler', '-u', '9-3'])).code, EXIT.usage)
})

test('device:scan leaves the silence that the devices of the bus need', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { holding: [10, 11, 12] } } })
  t.after(() => device.close())
  // Deaf for a while after each request.
  let heardAt = Number.NEGATIVE_INFINITY
  let requests = 0
  device.faults.choose(() => {
    requests += 1
    const isDeaf = performance.now() - heardAt < 100
    heardAt = performance.now()
    return isDeaf ? { kind: 'deaf' } : undefined
  })
  const slow = `{ device_id: 'd', host: '127.0.0.1', port: ${device.port}, framer: 'SOCKET', options: { silence_ms: 90, unit_switch_ms: 60 } }`
  const root = folder(t, {
    'app/devices.ts': `export default { devices: [${slow}] }`,
    'package.json': '{"type":"module"}',
  })
  const scan = await command(root, ['device:scan', 'd', '-r', '0-2', '--timeout', '5000', '--json'])
  assert.deepEqual(
    (JSON.parse(scan.out || scan.err) as { answer: string }[]).map(({ answer }) => answer),
    ['10', '11', '12'],
  )
  assert.equal(requests, 3, 'none was lost')
})

test('device:scan asks again for what was lost, goes on, and says what gave no answer', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { holding: [10, 11, 12, 13, 14, 15] } } })
  t.after(() => device.close())
  const root = folder(t, { 'package.json': '{"type":"module"}' })
  const where = `127.0.0.1:${device.port}`
  // By the number of the request: the second is lost once (address 1), the fifth and sixth are one address (3).
  let requests = 0
  const lost = new Set([2, 5, 6])
  device.faults.choose(() => (lost.has(++requests) ? { kind: 'deaf' } : undefined))
  // Those that are there must not miss it.
  const patient = ['--timeout', '1000', '--json']
  const scan = await command(root, ['device:scan', where, '-u', '1', '-r', '0-5', ...patient])
  const place = { unit: 1, register_type: 'holding' }
  assert.deepEqual(
    JSON.parse(scan.out || scan.err),
    [0, 1, 2, 3, 4, 5].map((address) => ({ ...place, address, answer: address === 3 ? null : String(10 + address) })),
  )
  assert.equal(scan.err, 'Unit 1 gave no answer, asked twice, at 3: what is there is not known.')
  assert.equal(requests, 8)
  const absent = await command(root, ['device:scan', where, '-u', '2', '-r', '0-5', '--timeout', '100'])
  assert.equal(absent.out, 'Nobody answered.')
  assert.equal(absent.err, 'No answer at all, so not asked to the end: unit 2.')
})

test('device:scan ends with the reason where the line is lost for good', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { holding: [1, 2, 3] } } })
  t.after(() => device.close())
  const root = folder(t, { 'package.json': '{"type":"module"}' })
  device.faults.choose(() => {
    void device.close()
    return { kind: 'deaf' }
  })
  const scan = await command(root, ['device:scan', `127.0.0.1:${device.port}`, '-u', '1', '-r', '0-1999'])
  assert.equal(scan.code, EXIT.unavailable)
  assert.match(scan.err, /DEVICE_UNREACHABLE/)
})

test('device:decode follows the registers: lines off a terminal, and a table that is drawn over itself on one', async (t) => {
  const { root, device } = await plant(t)
  const decode = ['device:decode', 'boiler', '0', '-i', '100']
  const shown: string[] = []
  const code = await main(['--root', root, ...decode, '-C', '2'], {
    terminal: true,
    out: (text) => {
      shown.push(text)
      device.set(1, 'holding', 0, 1)
    },
  })
  assert.equal(code, 0)
  assert.equal(shown.length, 2)
  for (const text of shown) assert.ok(text.startsWith('\u001b[H\u001b[Jboiler  '), text)
  assert.match(shown[0]!, /holding 0 \(40001\): 47f1 2000 0000 0000\n\ntype +ABCD +CDAB +BADC +DCBA\n/)
  assert.match(shown[1]!, /: 0001 2000 /)
  const { out, err } = await command(root, [...decode, '-C', '3'])
  const lines = out.split('\n').map((line) => JSON.parse(line) as { time: string; words: number[]; readings: object[] })
  assert.equal(lines.length, 3, err)
  for (const { time, words, readings } of lines) {
    assert.ok(time)
    assert.deepEqual([words, readings.length], [[1, 0x2000, 0, 0], 8])
  }
})

test('device:watch writes a line for each read off a terminal, and redraws a table on one', async (t) => {
  const { root, device } = await plant(t)
  const { out, err } = await command(root, ['device:watch', 'boiler', 'mode', '-i', '100', '-C', '2'])
  const lines = (out || err).split('\n').map((line) => JSON.parse(line) as { points: { value: number }[] })
  assert.deepEqual(
    lines.map(({ points }) => points[0]?.value),
    [5, 5],
  )
  const drawn: string[] = []
  await main(['--root', root, 'device:watch', 'boiler', '-C', '1'], {
    env: {},
    terminal: true,
    out: (text) => void drawn.push(text),
    err: (text) => void drawn.push(text),
  })
  assert.equal(drawn.length, 1)
  assert.ok(drawn[0]!.startsWith('\x1b[H\x1b[Jboiler  '), 'drawn over what was there')
  assert.match(drawn[0]!, /^mode +5 +- +good/m)
  await device.close()
  const away = await command(root, ['device:watch', 'boiler', 'mode', '-C', '1'])
  assert.match(away.out, /"code":"DEVICE_UNREACHABLE"/, 'an outage is shown, not the end')
  assert.equal(away.code, EXIT.unavailable, 'no read succeeded')
})

/** A simulation that has said where it listens. */
async function simulate(root: string, ...args: string[]) {
  const stop = new AbortController()
  const lines: string[] = []
  const ended = main(['--root', root, 'device:simulate', ...args, '--json'], {
    env: { DATABASE_URL: 'none' },
    terminal: false,
    signal: stop.signal,
    out: (text) => void lines.push(text),
    err: (text) => void lines.push(text),
  })
  await until(() => lines.length > 0)
  return {
    stop,
    ended,
    lines,
    at: JSON.parse(lines[0]!) as { kind: string; host: string; port: number; units: number[] },
  }
}

test('device:simulate stands in for a device of the plant, or for a profile, and misbehaves where asked', async (t) => {
  const points = JSON.stringify([
    { name: 'power', register_type: 'input', address: 10, type: 'float32', order: 'CDAB', min: -5, max: 5 },
    { name: 'limit', address: 20, scale: 0.1, min: 10, max: 30 },
    { name: 'mode', address: 21, enum: { heat: 3, cool: 4 } },
    { name: 'tag', register_type: 'input', address: 30, type: 'string', length: 3 },
  ])
  const root = folder(t, {
    'package.json': '{"type":"module"}',
    'app/devices.ts': `export default { devices: [{ device_id: 'boiler', host: 'h', port: 1, framer: 'RTU', slave_id: 9, points: ${points} }] }`,
    'app/profiles/acme.yaml':
      'variables: { base: 100 }\npoints: [{ name: level, address: "{base} + 4", min: 40, max: 60 }]\n',
  })
  const one = await simulate(root, '--device', 'boiler', '--fault', 'delay=1')
  assert.equal(one.lines[0]?.includes('error'), false, one.lines[0])
  assert.deepEqual([one.at.kind, one.at.units], ['rtu_tcp', [9]])
  const file = `export default { devices: [{ device_id: 'boiler', host: '127.0.0.1', port: ${one.at.port}, framer: 'RTU', slave_id: 9, points: ${points} }] }`
  const reader = folder(t, { 'package.json': '{"type":"module"}', 'app/devices.ts': file })
  const read = await command(reader, ['device:read', 'boiler', '--json'], { DATABASE_URL: 'none' })
  const values = (JSON.parse(read.out || read.err) as { points: { value: unknown; quality: string }[] }).points
  assert.deepEqual(
    values.map(({ quality }) => quality),
    ['good', 'good', 'good', 'good'],
    read.out,
  )
  assert.deepEqual(
    values.slice(1).map(({ value }) => value),
    [20, 'heat', 'tag'],
  )
  assert.ok(Math.abs(Number(values[0]!.value)) <= 5 && values[0]!.value !== 0, String(values[0]!.value))
  one.stop.abort()
  assert.equal(await one.ended, 0)

  const two = await simulate(root, '--profile', 'acme', '--variables', 'base=500', '--unit', '4')
  assert.deepEqual(two.at.units, [4])
  const master = createTransport({ kind: 'tcp', host: two.at.host, port: two.at.port })
  await master.connect({ timeoutMs: 10_000 })
  const { values: level } = await master.call(4, { fc: 3, address: 504, count: 1 }, { timeoutMs: 10_000 })
  assert.deepEqual(level, [50])
  await master.close()
  two.stop.abort()
  assert.equal(await two.ended, 0)

  for (const [args, wrong] of [
    [['--device', 'nobody'], /DEVICE_UNKNOWN/],
    [['--profile', 'amce'], /there is no profile amce/],
    [['--device', 'boiler', '--fault', 'sulk'], /USAGE/],
    [['--device', 'boiler', '--fault', 'delay=soon'], /USAGE/],
    [[], /Want one of a file, --device and --profile/],
  ] as const) {
    assert.match((await command(root, ['device:simulate', ...args], { DATABASE_URL: 'none' })).err, wrong)
  }
})

test('device:simulate listens where it is told, or says why it cannot', async (t) => {
  const one = 'port: 5020\nunits: { 1: { holding: [7] } }\n'
  const root = folder(t, {
    'package.json': '{"type":"module"}',
    'one.yaml': one,
    'two.yaml': 'devices: [{ units: { 1: {} } }, { units: { 1: {} } }]\n',
    'elsewhere.yaml': `host: 192.0.2.1\n${one}`,
    'line.yaml':
      'line: { kind: serial_rtu, path: none, baudRate: 9600, parity: none, dataBits: 8, stopBits: 1 }\nunits: { 1: {} }\n',
  })
  const { at, stop, ended } = await simulate(root, 'one.yaml', '--port', '0')
  assert.notEqual(at.port, 5020, 'the flag goes before the file')
  stop.abort()
  assert.equal(await ended, 0)
  for (const [args, code, message] of [
    [['two.yaml', '-p', '5999'], EXIT.usage, /--port goes with a file of one device/],
    [['one.yaml', '-u', '5'], EXIT.usage, /--unit does not go with a file/],
    [
      ['elsewhere.yaml', '-p', '0'],
      EXIT.configuration,
      /CONFIG_INVALID: A virtual device cannot listen on 192\.0\.2\.1:0: /,
    ],
    [['line.yaml'], EXIT.configuration, /CONFIG_INVALID: A virtual device cannot listen on none: /],
  ] as const) {
    const said = await command(root, ['device:simulate', ...args], { DATABASE_URL: 'none' })
    assert.deepEqual([said.code, message.test(said.err)], [code, true], said.err)
  }
})

test('device:simulate runs what a file describes and tells what masters write', async (t) => {
  const root = folder(t, {
    'plant.yaml': `units:
  3:
    holding: { 4: 44 }
    moving: { input: { 0: { kind: replay, csv: day.csv, column: kw, everyMs: 1000 } } }
`,
    'day.csv': 'time,kw\n0,17\n1,17\n',
  })
  const { stop, ended, lines } = await simulate(root, 'plant.yaml')
  const { host, port, units } = JSON.parse(lines[0]!) as { host: string; port: number; units: number[] }
  assert.deepEqual(units, [3])
  const master = createTransport({ kind: 'tcp', host, port })
  await master.connect({ timeoutMs: 10_000 })
  assert.deepEqual((await master.call(3, { fc: 3, address: 4, count: 1 }, { timeoutMs: 10_000 })).values, [44])
  assert.deepEqual((await master.call(3, { fc: 4, address: 0, count: 1 }, { timeoutMs: 10_000 })).values, [17])
  await master.call(3, { fc: 6, address: 4, value: 45 }, { timeoutMs: 10_000 })
  await master.close()
  stop.abort()
  assert.equal(await ended, 0)
  assert.deepEqual(JSON.parse(lines[1]!), { unit: 3, type: 'holding', address: 4, values: [45] })

  writeFileSync(join(root, 'wrong.yaml'), 'units: { 300: {}, 1: { holdng: [1] } }\n')
  const wrong = await command(root, ['device:simulate', 'wrong.yaml'])
  assert.equal(wrong.code, EXIT.usage)
  assert.match(wrong.err, /holdng/)
})
