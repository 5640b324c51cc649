import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { HttpConfig } from '../../../core/config/config.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { bearer } from './client.js'
import { httpConfig, plant, RUN_TOKEN, testConfig } from './fake-services.js'
import { start } from './started.js'

/** Sends bytes and collects the answer until the other side closes. */
function raw(port: number, send: (socket: Socket) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')))
    socket.on('connect', () => send(socket))
  })
}

const WRITE = '/api/devices/meter-1/registers/write'

test('a body that is too large is refused, by its length and by its bytes', async (context) => {
  const services = plant()
  const sidecar = await start(context, { services, config: { bodyLimitBytes: 1_000 } })
  const answer = await sidecar.send('POST', WRITE, { address: 1, value: 1, pad: 'x'.repeat(2_000) })
  assert.deepEqual([answer.status, answer.body.code], [413, 'PAYLOAD_TOO_LARGE'])
  const chunked = await raw(sidecar.port, (socket) => {
    socket.write(
      `POST ${WRITE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n`,
    )
    socket.write(`7d0\r\n${' '.repeat(2_000)}\r\n0\r\n\r\n`)
  })
  assert.match(chunked, /^HTTP\/1\.1 413 /)
  assert.match(chunked, /PAYLOAD_TOO_LARGE/)
  assert.deepEqual(services.asked, [])
})

// At once: both are waiting.
describe('limits of time', { concurrency: true }, () => {
  test('clients that are slow over their headers or their body are cut off with a word', async (context) => {
    const sidecar = await start(context, { timeouts: { headersMs: 1_500, requestMs: 2_000 } })
    const headers = await raw(sidecar.port, (socket) => socket.write('GET /live HTTP/1.1\r\nhost: local'))
    assert.match(headers, /^HTTP\/1\.1 408 [\s\S]*REQUEST_TIMEOUT/)
    const body = await raw(sidecar.port, (socket) =>
      socket.write(
        `POST ${WRITE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"addr`,
      ),
    )
    assert.match(body, /^HTTP\/1\.1 408 /)
    assert.equal((await sidecar.get('/live')).status, 200)
  })

  test('the wait is what is left of the window, and after it the client has its share again', async (context) => {
    const sidecar = await start(context, { config: { apiKeys: ['one'], rateLimit: { max: 2, windowMs: 4_000 } } })
    const ask = () => sidecar.get('/api/devices', bearer('one'))
    assert.deepEqual([(await ask()).status, (await ask()).status], [200, 200])
    const refused = await ask()
    const { limit, retry_after_ms: waitMs } = refused.body.details
    assert.deepEqual([refused.status, limit], [429, 2])
    assert.equal(refused.headers['retry-after'], String(Math.ceil(waitMs / 1_000)))
    assert.ok(waitMs > 0 && waitMs <= 4_000)
    await new Promise((resolve) => setTimeout(resolve, waitMs + 20))
    assert.equal((await ask()).status, 200)
  })
})

test('what is no HTTP gets a problem document and a closed connection', async (context) => {
  const sidecar = await start(context)
  assert.match(
    await raw(sidecar.port, (socket) => socket.write('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')),
    /^HTTP\/1\.1 400 [\s\S]*REQUEST_MALFORMED/,
  )
  const long = await raw(sidecar.port, (socket) =>
    socket.write(`GET /live HTTP/1.1\r\nhost: localhost\r\nx-long: ${'x'.repeat(70_000)}\r\n\r\n`),
  )
  assert.match(long, /^HTTP\/1\.1 431 [\s\S]*HEADERS_TOO_LARGE/)
  const both = await raw(sidecar.port, (socket) =>
    socket.write(
      `POST ${WRITE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    ),
  )
  assert.match(both, /^HTTP\/1\.1 400 /)
  const noHost = await raw(sidecar.port, (socket) => socket.write('GET /health HTTP/1.0\r\n\r\n'))
  assert.match(noHost, /^HTTP\/1\.1 403 [\s\S]*HOST_REFUSED/)
})

test('a connection that never says anything is closed', async (context) => {
  const sidecar = await start(context, { timeouts: { headersMs: 100, requestMs: 300 } })
  assert.match(await raw(sidecar.port, () => {}), /^(HTTP\/1\.1 408 |$)/)
})

test('one connection too many is closed, and the log says so once', async (context) => {
  const warnings: string[] = []
  const logger = { ...silentLogger, warn: (_facts: object, sentence = '') => void warnings.push(sentence) }
  const sidecar = await start(context, { connections: { total: 2, perAddress: 2 }, logger })
  const open: Socket[] = []
  context.after(() => {
    for (const socket of open) socket.destroy()
  })
  for (let count = 0; count < 2; count += 1) {
    const socket = connect(sidecar.port, '127.0.0.1')
    open.push(socket)
    socket.write('GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n')
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /)
  }
  for (let count = 0; count < 3; count += 1) {
    const refused = connect(sidecar.port, '127.0.0.1').on('error', () => {})
    await new Promise((resolve) => refused.on('close', resolve))
    assert.equal(refused.bytesRead, 0)
  }
  assert.deepEqual(warnings, ['connections to the sidecar are refused: too many are open'])
})

test('no request hides in another one: what follows is read by its length, or not at all', async (context) => {
  const services = plant()
  const sidecar = await start(context, { services })
  const body = JSON.stringify({ address: 1, value: 1 })
  const json = `host: localhost\r\ncontent-type: application/json\r\n`
  const hidden = `POST ${WRITE} HTTP/1.1\r\n${json}content-length: ${body.length}\r\n\r\n${body}`
  const head = `POST /api/devices/nobody/write HTTP/1.1\r\n${json}`
  const refused = {
    'two lengths': `${head}content-length: 0\r\ncontent-length: ${hidden.length}\r\n\r\n${hidden}`,
    'a length of two numbers': `${head}content-length: 0, ${hidden.length}\r\n\r\n${hidden}`,
    'a length with a sign': `${head}content-length: +${hidden.length}\r\n\r\n${hidden}`,
    'length and chunks': `${head}content-length: ${hidden.length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    'chunks that are not the last coding': `${head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`,
    'a coding that is none': `${head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${hidden}`,
    'a space before the colon': `${head}transfer-encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
    'a folded header': `${head}x: y\r\n content-length: 0\r\n\r\n${hidden}`,
    'a line that ends with CR alone': `${head}x: y\rcontent-length: 0\r\n\r\n${hidden}`,
    'a size of a chunk that overflows': `${head}transfer-encoding: chunked\r\n\r\n1ffffffffffffffff\r\n${hidden}`,
    'a NUL in a header': `${head}x: a\u0000b\r\n\r\n${hidden}`,
  }
  for (const [what, bytes] of Object.entries(refused)) {
    const answer = await raw(sidecar.port, (socket) => socket.write(bytes))
    assert.match(answer, /^HTTP\/1\.1 400 /, what)
    assert.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, `${what}: one answer, and the connection is closed`)
  }
  // The body of a GET is a body, whatever stands in it.
  const inside = await raw(sidecar.port, (socket) =>
    socket.write(
      `GET /live HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${hidden.length}\r\n\r\n${hidden}` +
        'GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
    ),
  )
  assert.equal(inside.match(/HTTP\/1\.1 200 /g)?.length, 2, inside)
  assert.deepEqual(services.asked, [])
})

test('a whole URL as target does not smuggle in a foreign host', async (context) => {
  const sidecar = await start(context)
  const ask = (target: string, host: string) =>
    raw(sidecar.port, (socket) => socket.write(`GET ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`))
  assert.match(await ask('http://evil.example/health', 'localhost'), /^HTTP\/1\.1 403 [\s\S]*HOST_REFUSED/)
  assert.match(await ask('http://localhost@evil.example/health', 'localhost'), /^HTTP\/1\.1 403 /)
  assert.match(await ask(`http://localhost:${sidecar.port}/health`, 'evil.example'), /^HTTP\/1\.1 403 /)
  assert.match(await ask(`http://localhost:${sidecar.port}/health`, 'localhost'), /^HTTP\/1\.1 200 /)
  for (const host of ['localhost.', '127.0.0.1.', 'LOCALHOST:80', '[::1]', '[0:0:0:0:0:0:0:1]:8000', '127.255.0.1'])
    assert.match(await ask('/health', host), /^HTTP\/1\.1 200 /, host)
  for (const host of [
    'localhost..',
    'localhost.evil.example',
    'evil.example.',
    '[::2]',
    '::1',
    '0.0.0.0',
    '127.0.0.1:80@evil',
    '2130706433',
    '0x7f.1',
    'localhost:99999999',
    '127.1',
  ])
    assert.match(await ask('/health', host), /^HTTP\/1\.1 40[03] /, host)
})

test('wrong keys count by the address of the connection, whatever a header says of it', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['one'], rateLimit: { max: 5, windowMs: 60_000 } } })
  assert.equal((await sidecar.get('/api/devices', bearer('one'))).status, 200)
  const statuses: number[] = []
  for (let count = 0; count < 12; count += 1) {
    const { status } = await sidecar.get('/api/devices', {
      headers: {
        'x-api-key': `guess-${count}`,
        'x-forwarded-for': `10.0.0.${count}`,
        'x-real-ip': `10.0.1.${count}`,
        forwarded: `for=10.0.2.${count}`,
        'x-client-ip': `10.0.3.${count}`,
      },
    })
    statuses.push(status)
  }
  assert.deepEqual(statuses, [...Array<number>(10).fill(401), 429, 429])
  assert.equal((await sidecar.get('/api/devices', bearer('one'))).status, 200, 'a good key is not held up by them')
})

test('each client has its own limit, wrong keys count by address, the run token is free', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['one', 'two'], rateLimit: { max: 5, windowMs: 60_000 } } })
  const statuses: number[] = []
  for (let count = 0; count < 7; count += 1) statuses.push((await sidecar.get('/api/devices', bearer('one'))).status)
  assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429])
  const refused = await sidecar.get('/api/devices', bearer('one'))
  assert.equal(refused.body.code, 'THROTTLED')
  assert.match(String(refused.headers['retry-after']), /^[1-6]?\d$/)
  assert.equal((await sidecar.get('/api/devices', bearer('two'))).status, 200)
  for (let count = 0; count < 20; count += 1)
    assert.equal((await sidecar.get('/api/devices', bearer(RUN_TOKEN))).status, 200)
  const guesses: number[] = []
  for (let count = 0; count < 12; count += 1)
    guesses.push((await sidecar.get('/api/devices', bearer(`guess-${count}`))).status)
  assert.deepEqual(guesses, [...Array<number>(10).fill(401), 429, 429])
})

test('other origins get nothing by default, and the named ones only when named', async (context) => {
  const closed = await start(context, { config: { apiKeys: ['k'] } })
  const asked = { headers: { origin: 'https://board.example', 'access-control-request-method': 'GET' } }
  const without = await closed.send('OPTIONS', '/api/devices', undefined, asked)
  assert.equal(without.headers['access-control-allow-origin'], undefined)
  const open = await start(context, { config: { apiKeys: ['k'], corsOrigins: ['https://board.example'] } })
  const named = await open.send('OPTIONS', '/api/devices', undefined, asked)
  assert.deepEqual([named.status, named.headers['access-control-allow-origin']], [204, 'https://board.example'])
  const other = await open.send('OPTIONS', '/api/devices', undefined, {
    headers: { ...asked.headers, origin: 'https://evil.example' },
  })
  assert.notEqual(other.headers['access-control-allow-origin'], 'https://evil.example')
  const answer = await open.get('/api/devices', { headers: { origin: 'https://board.example', 'x-api-key': 'k' } })
  assert.deepEqual([answer.status, answer.headers['access-control-allow-origin']], [200, 'https://board.example'])
  assert.equal(answer.headers['access-control-allow-credentials'], undefined)
})

test('with CORS on, a page may change things too, and unknown paths are still unknown', async (context) => {
  const origin = 'https://board.example'
  const sidecar = await start(context, { config: { apiKeys: ['k'], corsOrigins: [origin] } })
  const preflight = await sidecar.send('OPTIONS', '/api/admin/devices/meter-1', undefined, {
    headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-api-key' },
  })
  const allowed = (name: string) => String(preflight.headers[`access-control-allow-${name}`])
  assert.deepEqual([preflight.status, allowed('headers')], [204, 'x-api-key'])
  assert.deepEqual(allowed('methods').split(', '), ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'])
  const key = { headers: { origin, 'x-api-key': 'k' } }
  const unknown = await sidecar.get('/api/nothing', key)
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'ROUTE_NOT_FOUND'])
  const wrong = await sidecar.send('PUT', '/api/devices', {}, key)
  assert.deepEqual([wrong.status, wrong.headers.allow], [405, 'GET, HEAD'])
  const bare = await sidecar.send('OPTIONS', '/api/nothing')
  assert.deepEqual([bare.status, bare.text, bare.headers.allow], [204, '', undefined])
})

test('every answer carries the safe headers and a request id, also those that say no', async (context) => {
  const sidecar = await start(context)
  for (const path of ['/live', '/nowhere', '/api/devices/nobody/registers?address=1']) {
    const { headers } = await sidecar.get(path, { headers: { 'x-request-id': 'line-3:42' } })
    assert.equal(headers['x-content-type-options'], 'nosniff', path)
    assert.equal(headers['content-security-policy'], "default-src 'none';frame-ancestors 'none'", path)
    assert.equal(headers['x-request-id'], 'line-3:42', path)
  }
  for (const id of ['a b', 'x'.repeat(65), 'a"b']) {
    const { headers } = await sidecar.get('/live', { headers: { 'x-request-id': id } })
    assert.match(String(headers['x-request-id']), /^[0-9a-f-]{36}$/)
  }
})

test('keys, and the limit, change while the sidecar runs', async (context) => {
  const config = { apiKeys: ['old'], rateLimit: { max: 2, windowMs: 60_000 } }
  const sidecar = await start(context, { config })
  assert.equal((await sidecar.get('/api/devices', bearer('old'))).status, 200)
  const next = (http: Partial<HttpConfig>) => ({ ...testConfig, http: httpConfig(http) })
  sidecar.reconfigure(next({ apiKeys: ['new'], rateLimit: { max: 3, windowMs: 60_000 } }))
  assert.equal((await sidecar.get('/api/devices', bearer('old'))).status, 401)
  const statuses: number[] = []
  for (let count = 0; count < 3; count += 1) statuses.push((await sidecar.get('/api/devices', bearer('new'))).status)
  assert.deepEqual(statuses, [200, 200, 429], 'the first key of the configuration is one client, old or new')
  sidecar.reconfigure(next({ apiKeys: ['new'], rateLimit: 'off' }))
  assert.equal((await sidecar.get('/api/devices', bearer('new'))).status, 200)
})
