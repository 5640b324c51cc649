import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, createServer, get, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { createKey } from '../../../core/http/keys.js'
import type { LiveEvent } from '../../../core/http/services/history.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { until } from '../support/until.js'
import { bearer } from './client.js'
import { keyStore, plant } from './fake-services.js'
import { start } from './started.js'

function feed() {
  const listeners = new Set<(event: LiveEvent) => void>()
  return {
    listeners,
    live: (listener: (event: LiveEvent) => void) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    emit(event: LiveEvent) {
      for (const listener of listeners) listener(event)
    },
  }
}

test('values and states arrive as events, filtered as asked for, until the reader leaves', async (context) => {
  const { live, emit, listeners } = feed()
  const sidecar = await start(context, { services: plant({ live }) })
  const request = get(`${sidecar.url}/api/stream?device_id=meter-1&type=value`)
  const [response] = await once(request, 'response')
  assert.equal(response.headers['content-type'], 'text/event-stream; charset=utf-8')
  assert.equal(response.headers['x-content-type-options'], 'nosniff')
  let text = ''
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await until(() => listeners.size === 1)
  emit({ type: 'value', device_id: 'meter-2', value: 1 })
  emit({ type: 'state', device_id: 'meter-1', state: 'offline' })
  emit({ type: 'value', device_id: 'meter-1', point: 'level', value: 'a\nb' })
  await until(() => text.includes('level'))
  assert.equal(
    text,
    'retry: 2000\n\nevent: value\ndata: {"type":"value","device_id":"meter-1","point":"level","value":"a\\nb"}\n\n',
  )
  request.destroy()
  await until(() => listeners.size === 0)
})

test('a reader that takes nothing is dropped, its neighbour keeps reading', async (context) => {
  const { live, emit, listeners } = feed()
  const sidecar = await start(context, { services: plant({ live }) })
  const stuck = connect(sidecar.port, '127.0.0.1')
  stuck.on('error', () => {})
  stuck.write('GET /api/stream HTTP/1.1\r\nhost: localhost\r\n\r\n')
  stuck.pause()
  const request = get(`${sidecar.url}/api/stream`)
  const [response] = await once(request, 'response')
  let bytes = 0
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  await until(() => listeners.size === 2)
  const pad = 'x'.repeat(200_000)
  for (let count = 0; count < 200 && listeners.size === 2; count += 1) {
    emit({ type: 'value', device_id: 'meter-1', pad })
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  assert.equal(listeners.size, 1)
  const before = bytes
  emit({ type: 'state', device_id: null })
  await until(() => bytes > before)
  request.destroy()
  stuck.destroy()
})

test('one caller cannot take the streams of all: the one too many is told, the next caller reads', async (context) => {
  const { live, listeners } = feed()
  const sidecar = await start(context, { services: plant({ live }), config: { apiKeys: ['one', 'two'] } })
  const agent = new Agent()
  context.after(() => agent.destroy())
  const open = async (key: string) => {
    const [response] = await once(
      get(`${sidecar.url}/api/stream`, { agent, headers: { 'x-api-key': key } }),
      'response',
    )
    return response as IncomingMessage
  }
  const mine = await Promise.all(Array.from({ length: 50 }, () => open('one')))
  assert.deepEqual(new Set(mine.map(({ statusCode }) => statusCode)), new Set([200]))
  const refused = await sidecar.get('/api/stream', bearer('one'))
  assert.deepEqual(
    [refused.status, refused.body.code, refused.body.details, refused.headers['retry-after']],
    [429, 'THROTTLED', { limit: 50 }, '1'],
  )
  assert.equal((await open('two')).statusCode, 200)
  mine[0]!.destroy()
  await until(() => listeners.size === 50)
  assert.equal((await open('one')).statusCode, 200)
})

test('a stream ends when the key it was opened with is revoked, and beats until then', async (context) => {
  const { live, listeners } = feed()
  const keys = keyStore()
  const made = createKey({ name: 'board', scope: 'read' }, Date.now())
  await keys.add(made.record, { kind: 'cli', name: 'test' })
  // A thousand times faster: a beat every 15 ms.
  const clock: Clock = { ...systemClock, after: (ms, run, options) => systemClock.after(ms / 1_000, run, options) }
  const sidecar = await start(context, { services: plant({ live, keys }), clock })
  const request = get(`${sidecar.url}/api/stream`, { headers: { 'x-api-key': made.key } })
  const [response] = await once(request, 'response')
  let text = ''
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await until(() => text.split(': still here').length > 3)
  assert.equal(listeners.size, 1)
  const ended = once(response, 'end')
  await keys.revoke(made.record.prefix, { kind: 'cli', name: 'test' })
  await keys.add({ ...made.record, prefix: '0'.repeat(12) }, { kind: 'cli', name: 'test' })
  await ended
  await until(() => listeners.size === 0)
})

test('a reader that takes nothing while its stream is ended is cut off, and what is told meanwhile harms nobody', async (context) => {
  const { live, emit, listeners } = feed()
  const keys = keyStore()
  const made = createKey({ name: 'board', scope: 'read' }, Date.now())
  const other = createKey({ name: 'other', scope: 'read' }, Date.now())
  for (const { record } of [made, other]) await keys.add(record, { kind: 'cli', name: 'test' })
  // A beat every 150 ms.
  const clock: Clock = { ...systemClock, after: (ms, run, options) => systemClock.after(ms / 100, run, options) }
  const sidecar = await start(context, { services: plant({ live, keys }), clock })
  const open = async () => {
    const before = listeners.size
    const socket = connect(sidecar.port, '127.0.0.1')
    context.after(() => socket.destroy())
    socket.on('error', () => {})
    socket.write(`GET /api/stream HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${made.key}\r\n\r\n`)
    socket.pause()
    await until(() => listeners.size === before + 1)
  }
  const tell = async () => {
    emit({ type: 'value', device_id: 'meter-1', pad: 'x'.repeat(100_000) })
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  // How much it takes until one is dropped: the buffers of the sockets and a MiB.
  await open()
  let most = 0
  for (; listeners.size === 1; most += 1) await tell()
  // How much the system itself takes is not the same each time: less, until one is left waiting for its reader.
  for (let less = 5; listeners.size === 0; less += 1) {
    assert.ok(less < 10, 'none waits for its reader')
    await open()
    for (let count = 0; count < most - less; count += 1) await tell()
  }
  await keys.revoke(made.record.prefix, { kind: 'cli', name: 'test' })
  await until(() => listeners.size === 0)
  for (let count = 0; count < 5; count += 1) await tell()
  assert.equal((await sidecar.get('/health', bearer(other.key))).status, 200)
})

test('a reader that left while its token was checked leaves nothing behind', async (context) => {
  const { live, listeners } = feed()
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one' }] })
  let answer = () => {}
  const mayAnswer = new Promise<void>((resolve) => {
    answer = resolve
  })
  const keySet = createServer(async (_request, response) => {
    await mayAnswer
    response.setHeader('content-type', 'application/json').end(keys)
  })
  const asked = once(keySet, 'request')
  await new Promise<void>((resolve) => keySet.listen(0, '127.0.0.1', resolve))
  context.after(() => keySet.close())
  let opened = 0
  const counted = (listener: (event: LiveEvent) => void) => {
    opened += 1
    return live(listener)
  }
  const jwksUrl = `http://127.0.0.1:${(keySet.address() as AddressInfo).port}`
  const sidecar = await start(context, { services: plant({ live: counted }), config: { jwt: { jwksUrl } } })
  const token = await new SignJWT({ sub: 'board', scope: 'read' })
    .setProtectedHeader({ alg: 'RS256', kid: 'one' })
    .setExpirationTime('1m')
    .sign(privateKey)
  const socket = connect(sidecar.port, '127.0.0.1')
  socket.write(`GET /api/stream HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n\r\n`)
  await asked
  socket.destroy()
  // A later connection that is answered and closed: by then the sidecar has seen that the first is gone.
  for (let count = 0; count < 5; count += 1) await sidecar.get('/live')
  answer()
  // One that needs the same keys: by then the first has been let in.
  assert.equal((await sidecar.get('/health', bearer(token))).status, 200)
  assert.deepEqual([opened, listeners.size], [0, 0])
})

test('a HEAD opens no stream and reads no rows', async (context) => {
  const { live, listeners } = feed()
  const sidecar = await start(context, { services: plant({ live }) })
  assert.equal((await sidecar.send('HEAD', '/api/stream')).status, 405)
  assert.equal((await sidecar.send('HEAD', '/api/readings.csv')).status, 405)
  assert.equal(listeners.size, 0)
})

test('without a source of live values the stream is a problem document', async (context) => {
  const { live: _, ...services } = plant()
  const sidecar = await start(context, { services })
  assert.equal((await sidecar.get('/api/stream')).body.code, 'NOT_AVAILABLE')
})
