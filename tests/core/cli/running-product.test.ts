import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { main } from '../../../core/cli/program.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

const MAIN = fileURLToPath(new URL('../../../core/cli/main.ts', import.meta.url))

interface Call {
  readonly line: string
  readonly authorization: string | undefined
  readonly body: unknown
}

/** A sidecar on a real socket that answers what a test says, and the folder of the product it belongs to. */
async function product(t: TestContext, answer: (line: string) => [status: number, body: unknown]) {
  const calls: Call[] = []
  const read = async (request: IncomingMessage) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  }
  const server = createServer(async (request, response) => {
    const line = `${request.method} ${request.url}`
    calls.push({ line, authorization: request.headers.authorization, body: await read(request) })
    const [status, body] = answer(line)
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(body === undefined ? '' : JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close().closeAllConnections())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const run = { pid: process.pid, version: '1', mode: 'demo', broker: { url: 'mqtt://x' }, http: { url, token: 'tok' } }
  return { root: folder(t, { '.routemq/run.json': JSON.stringify(run) }), calls }
}

test('commands call the sidecar with the token of run.json', async (t) => {
  const worker = { name: 'slot-1', pid: 12, state: 'ready', restarts: 0 }
  const { root, calls } = await product(t, () => [200, [worker]])
  const list = await command(root, ['worker:list'])
  assert.deepEqual(list, {
    code: 0,
    out: 'name    pid  state  restarts\nslot-1  12   ready  0',
    err: '',
  })
  await command(root, ['worker:restart', 'slot-1'])
  await command(root, ['worker:restart'])
  await command(root, ['worker:scale', '4'])
  assert.deepEqual(
    calls.map(({ line, authorization, body }) => [line, authorization, body]),
    [
      ['GET /api/admin/workers', 'Bearer tok', undefined],
      ['POST /api/admin/workers/restart', 'Bearer tok', { name: 'slot-1' }],
      ['POST /api/admin/workers/restart', 'Bearer tok', {}],
      ['POST /api/admin/workers/scale', 'Bearer tok', { slots: 4 }],
    ],
  )
})

test('a change whose answer is lost is told as one that may have been made, a look as one without an answer', async (t) => {
  let asked = 0
  // Takes the whole request and goes away, as a product that is killed does.
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      asked += 1
      response.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const run = { pid: process.pid, version: '1', mode: 'demo', broker: { url: 'mqtt://x' }, http: { url, token: 'tok' } }
  const root = folder(t, { '.routemq/run.json': JSON.stringify(run) })
  const write = await command(root, ['device:write', 'a', '10', '42'])
  assert.deepEqual([write.code, asked], [EXIT.unknown, 1])
  assert.match(write.err, /WRITE_OUTCOME_UNKNOWN.*POST \/api\/devices\/a\/write/)
  assert.equal((await command(root, ['dead:forget', 'd1'])).code, EXIT.unknown)
  const look = await command(root, ['device:read', 'a', '10'])
  assert.deepEqual([look.code, asked], [EXIT.notRunning, 3])
  server.close().closeAllConnections()
  await once(server, 'close')
  const unsent = await command(root, ['device:write', 'a', '10', '42'])
  assert.deepEqual([unsent.code, asked], [EXIT.notRunning, 3])
})

test('Ctrl-C ends a call that is on its way: a look is given up, a change is told as one that may have been made', async (t) => {
  let arrived = () => {}
  let left = 0
  const server = createServer((request, response) => {
    response.on('close', () => {
      left += 1
    })
    request.resume().on('end', () => arrived())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close().closeAllConnections())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const run = { pid: process.pid, version: '1', mode: 'demo', broker: { url: 'mqtt://x' }, http: { url, token: 'tok' } }
  const root = folder(t, { '.routemq/run.json': JSON.stringify(run) })
  const interrupted = async (...args: string[]) => {
    const reached = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const child = spawn(process.execPath, [...process.execArgv, MAIN, '--root', root, ...args])
    let err = ''
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk
    })
    const ended = once(child, 'close') as Promise<[number | null]>
    await Promise.race([reached, ended.then(() => assert.fail(`it ended before it asked: ${err}`))])
    child.kill('SIGINT')
    const [code] = await ended
    return { code, err }
  }
  const write = await interrupted('device:write', 'a', '10', '42')
  assert.equal(write.code, EXIT.unknown, write.err)
  assert.match(write.err, /WRITE_OUTCOME_UNKNOWN.*POST \/api\/devices\/a\/write.*not waited for.*audit/)
  const look = await interrupted('device:read', 'a', '10')
  assert.equal(look.code, EXIT.unavailable, look.err)
  assert.match(look.err, /REQUEST_CANCELLED/)
  while (left < 2) await setImmediate()
  const signal = AbortSignal.abort()
  const err: string[] = []
  const code = await main(['--root', root, 'dead:forget', 'd1'], { signal, err: (text) => void err.push(text) })
  assert.equal(code, EXIT.unavailable)
  assert.match(err.join(), /REQUEST_CANCELLED.*before DELETE \/api\/admin\/dead\/d1 was sent/)
})

test('device:read and device:write go through the product', async (t) => {
  const { root, calls } = await product(t, (line) =>
    line.includes('/points?')
      ? [200, { device_id: 'a b', points: [{ point: 'level', value: 4, unit: '%', quality: 'good' }] }]
      : [200, { device_id: 'a b', values: [7, 65535], status: 'ok', results: [{ outcome: 'ok', data: 'beef' }] }],
  )
  const read = await command(root, ['device:read', 'a b', '10', '-n', '2'])
  assert.equal(
    read.out,
    'register            value  hex\nholding 10 (40011)  7      0x0007\nholding 11 (40012)  65535  0xffff',
  )
  const points = await command(root, ['device:read', 'a b', 'level', '--cache'])
  assert.equal(points.out, 'point  value  unit  quality  reason\nlevel  4      %     good     -')
  const write = await command(root, ['device:write', 'a b', '10', '42'])
  assert.equal(write.out, 'a b holding 10 (40011) = 42')
  await command(root, ['device:write', 'a b', 'mode', 'heat'])
  assert.equal((await command(root, ['device:call', 'a b', '65', '0102'])).out, 'be ef')
  assert.deepEqual(
    calls.map(({ line, body }) => [line, body]),
    [
      ['GET /api/devices/a%20b/registers?register_type=holding&address=10&count=2&source=live', undefined],
      ['GET /api/devices/a%20b/points?point=level&source=cache', undefined],
      ['POST /api/devices/a%20b/write', { items: [{ register_type: 'holding', address: 10, values: [42] }] }],
      ['POST /api/devices/a%20b/write', { items: [{ point: 'mode', value: 'heat' }] }],
      ['POST /api/devices/a%20b/write', { items: [{ function: 65, data: '0102' }] }],
    ],
  )
})

test('all points of a device are asked for without their names, which may be too many for a URL', async (t) => {
  const answers = [[{ point: 'L1, L2', value: 4, unit: null, quality: 'good' }], []]
  const { root, calls } = await product(t, () => [200, { device_id: 'd', points: answers.shift() }])
  assert.match((await command(root, ['device:watch', 'd', '-C', '1'])).out, /"point":"L1, L2","value":4/)
  const none = await command(root, ['device:read', 'd'])
  assert.deepEqual([none.code, /Device d has no points to read/.test(none.err)], [EXIT.usage, true])
  await command(root, ['device:read', 'd', 'L1, L2', 'a'])
  assert.deepEqual(
    calls.map(({ line }) => line),
    [
      'GET /api/devices/d/points?source=live',
      'GET /api/devices/d/points?source=live',
      'GET /api/devices/d/points?point=L1%2C+L2&point=a&source=live',
    ],
  )
})

test('what the device accepted and has not finished is no success', async (t) => {
  const error = { code: 'MODBUS_ACKNOWLEDGE', message: 'Device d is still at it' }
  const { root } = await product(t, () => [202, { status: 'accepted', results: [{ outcome: 'unknown', error }] }])
  const { code, out, err } = await command(root, ['device:write', 'd', '1', '2'])
  assert.deepEqual([code, out], [EXIT.unknown, ''])
  assert.match(err, /MODBUS_ACKNOWLEDGE: Device d is still at it/)
})

for (const [status, code, exit] of [
  [404, 'DEVICE_UNKNOWN', EXIT.refused],
  [504, 'DEVICE_TIMEOUT', EXIT.unavailable],
  [504, 'WRITE_OUTCOME_UNKNOWN', EXIT.unknown],
] as const) {
  test(`a problem document becomes its error: ${code} ends with ${exit}`, async (t) => {
    const { root } = await product(t, () => [status, { code, detail: 'What was found.', status, title: 'x' }])
    const { code: ended, err } = await command(root, ['device:write', 'd', '1', '2'])
    assert.equal(ended, exit)
    assert.match(err, new RegExp(`^routemq: ${code}: What was found\\.\n`))
  })
}

test('an answer that is no problem document is quoted', async (t) => {
  const { root } = await product(t, () => [500, 'oops'])
  const { code, err } = await command(root, ['dead:list'])
  assert.equal(code, EXIT.failure)
  assert.match(err, /GET \/api\/admin\/dead\?limit=50 was answered with 500: "oops"/)
})

test('dead letters are listed, shown, retried and forgotten', async (t) => {
  const letter = {
    id: 'd1',
    route: 'devices.write',
    topic: 'devices/x/write',
    error: { code: 'HANDLER_FAILED', message: 'no' },
    attempts: 3,
    failed_at: '2026-01-01T00:00:00.000Z',
  }
  const { root, calls } = await product(t, (line) => {
    if (line.startsWith('GET /api/admin/dead?')) return [200, [letter]]
    if (line.startsWith('GET')) return [200, { ...letter, payload: Buffer.from('{"a":1}').toString('base64') }]
    return line.startsWith('DELETE') ? [204, undefined] : [200, { status: 'ok' }]
  })
  assert.match((await command(root, ['dead:list'])).out, /^d1 .*devices\/x\/write +devices\.write +3 +HANDLER_FAILED$/m)
  assert.match((await command(root, ['dead:show', 'd1'])).out, /\n\n\{"a":1\}$/)
  assert.equal((await command(root, ['dead:retry', 'd1', 'd2', '--force'])).out, 'd1 runs again\nd2 runs again')
  assert.equal((await command(root, ['dead:forget', 'd/1'])).out, 'd/1 is forgotten')
  assert.deepEqual(
    calls.slice(2).map(({ line, body }) => [line, body]),
    [
      ['POST /api/admin/dead/d1/retry', { force: true }],
      ['POST /api/admin/dead/d2/retry', { force: true }],
      ['DELETE /api/admin/dead/d%2F1', undefined],
    ],
  )
})

test('a run.json whose process is gone is no running product', async (t) => {
  const run = { pid: 2 ** 22 + 1, broker: { url: 'mqtt://x' }, http: { url: 'http://127.0.0.1:1', token: 't' } }
  const { code, err } = await command(folder(t, { '.routemq/run.json': JSON.stringify(run) }), ['worker:list'])
  assert.equal(code, EXIT.notRunning)
  assert.match(err, /^routemq: NOT_RUNNING: Nothing runs in /)
})

test('a sidecar that does not answer is told', async (t) => {
  const run = { pid: process.pid, broker: { url: 'mqtt://x' }, http: { url: 'http://127.0.0.1:1', token: 't' } }
  const { code, err } = await command(folder(t, { '.routemq/run.json': JSON.stringify(run) }), ['worker:list'])
  assert.equal(code, EXIT.notRunning)
  assert.match(err, /The sidecar at http:\/\/127\.0\.0\.1:1 does not answer/)
})

test('keys are made, shown once, listed and revoked', async (t) => {
  const key = { prefix: 'abc', name: 'scada', scope: 'write', created_at: '2026-01-01T00:00:00.000Z' }
  const { root, calls } = await product(t, (line) => {
    if (line.startsWith('POST')) return [201, { ...key, key: 'abc.secret' }]
    return line.startsWith('GET') ? [200, [{ ...key, expires_at: null, revoked_at: null }]] : [204, undefined]
  })
  const made = await command(root, ['key:create', 'scada', '-s', 'write', '-e', '2099-01-01'])
  assert.deepEqual([made.code, made.out], [0, 'abc.secret'])
  const listed = await command(root, ['key:list'])
  assert.match(listed.out, /^abc +scada +write +2026-01-01T00:00:00\.000Z +- +-$/m)
  assert.ok(!listed.out.includes('secret'))
  assert.equal((await command(root, ['key:revoke', 'abcabcabcabc'])).out, 'abcabcabcabc is revoked')
  assert.equal((await command(root, ['key:create', 'x', '-s', 'root'])).code, EXIT.usage)
  assert.equal((await command(root, ['key:create', 'x', '-e', '2020-01-01'])).code, EXIT.usage)
  assert.deepEqual(
    calls.map(({ line, body }) => [line, body]),
    [
      ['POST /api/admin/keys', { name: 'scada', scope: 'write', expires_at: '2099-01-01T00:00:00.000Z' }],
      ['GET /api/admin/keys', undefined],
      ['DELETE /api/admin/keys/abcabcabcabc', undefined],
    ],
  )
})

test('what the product refuses of an import is told by line, and was not sent one by one', async (t) => {
  let isRefused = true
  const refused = [
    { change: 'targets.create.1', code: 'BUS_LOAD_REFUSED', message: 'Bus h:502 would be polled 140 % of its time' },
  ]
  const none = { created: 0, updated: 0, unchanged: 0 }
  const { root, calls } = await product(t, (line) => {
    if (line === 'GET /api/admin/devices') return [200, [normalizeDevice({ device_id: 'a', host: 'h', port: 502 })]]
    if (line === 'GET /api/admin/polling') return [200, []]
    if (isRefused) return [409, { code: 'BUS_LOAD_REFUSED', detail: 'One.', details: { refused } }]
    return [200, { devices: none, targets: { ...none, created: 2 }, warnings: ['the bus is full'] }]
  })
  writeFileSync(join(root, 'targets.csv'), 'device_id,address,interval_ms\na,1,10\na,2,1000\n')
  writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  const { code, out, err } = await command(root, ['device:import', 'targets.csv', '--dry-run'])
  assert.deepEqual([code, out], [EXIT.refused, ''])
  assert.match(err, /targets\.csv:3: BUS_LOAD_REFUSED: Bus h:502 would be polled 140 % of its time/)
  assert.match(err, /Nothing was imported: 1 mistakes?\./)
  isRefused = false
  const forced = await command(root, ['device:import', 'targets.csv', '--force'])
  assert.equal(forced.out, '0 devices created, 0 changed; 2 polling targets created, 0 changed')
  assert.equal(forced.err, 'the bus is full')
  const sent = {
    devices: { create: [], update: [] },
    targets: {
      create: [
        { device_id: 'a', address: 1, interval_ms: 10 },
        { device_id: 'a', address: 2, interval_ms: 1000 },
      ],
      update: [],
    },
  }
  assert.deepEqual(
    calls.filter(({ line }) => line.startsWith('POST')).map(({ line, body }) => [line, body]),
    [
      ['POST /api/admin/plant?force=false&dry_run=true', sent],
      ['POST /api/admin/plant?force=true&dry_run=false', sent],
    ],
  )
})

test('device:list says whether the product can talk to each device, for programs too', async (t) => {
  const devices = ['on', 'off', 'elsewhere', 'new', 'idle'].map((device_id, at) =>
    normalizeDevice({ device_id, host: 'h', port: 502, slave_id: at + 1, is_active: device_id !== 'idle' }),
  )
  const device_states = { on: { state: 'online' }, off: { state: 'offline', reason: 'silent' } }
  const { root } = await product(t, (line) => {
    if (line === 'GET /api/admin/devices') return [200, devices]
    return [
      200,
      [
        { id: 'a', device_states },
        { id: 'b', device_states: { elsewhere: { state: 'standby' } } },
      ],
    ]
  })
  const states = { on: 'online', off: 'offline', elsewhere: 'standby', new: 'unknown', idle: null }
  const listed = JSON.parse((await command(root, ['device:list', '--json'])).out) as {
    device_id: string
    state: unknown
  }[]
  assert.deepEqual(Object.fromEntries(listed.map(({ device_id, state }) => [device_id, state])), states)
  const { out } = await command(root, ['device:list'])
  assert.match(out, /^device +bus +framer +unit +active +state +writable +points$/m)
  assert.match(out, /^off +h:502 +RTU +2 +yes +offline +yes +0$/m)
  assert.match(out, /^idle +h:502 +RTU +5 +no +- +yes +0$/m)
})

test('device:scan names who owns the bus: the running product, or another installation', async (t) => {
  const { root } = await product(t, (line) => {
    if (line === 'GET /api/admin/devices') return [200, []]
    const standby = { id: '127.0.0.1:2', state: 'standby', owner: 'plant-b', cause: 'plant-b owns it' }
    return [200, [{ id: '127.0.0.1:1', state: 'open' }, standby]]
  })
  const mine = await command(root, ['device:scan', '127.0.0.1:1'])
  assert.equal(mine.code, EXIT.refused)
  assert.match(mine.err, /BUS_IN_USE: The running product has bus 127\.0\.0\.1:1 open\.\nStop the product for this/)
  const other = await command(root, ['device:scan', '127.0.0.1:2'])
  assert.equal(other.code, EXIT.unavailable)
  assert.match(other.err, /BUS_STANDBY: Bus 127\.0\.0\.1:2 is not opened here: plant-b owns it/)
})
