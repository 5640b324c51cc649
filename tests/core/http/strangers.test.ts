import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { clientOf } from '../../../core/http/gate.js'
import { createKey } from '../../../core/http/keys.js'
import { Regulars } from '../../../core/http/regulars.js'
import { bearer } from './client.js'
import { keyStore, plant } from './fake-services.js'
import { start } from './started.js'

const LIMIT = { max: 5, windowMs: 60_000 }

/** One request on a connection of its own that asks for nothing more; the connection, and what it was answered. */
async function ask(context: TestContext, port: number, head: string, localAddress = '127.0.0.1') {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  context.after(() => socket.destroy())
  socket.on('error', () => {})
  socket.write(`${head}\r\nhost: ${head.includes('/evil') ? 'evil.example' : 'localhost'}\r\n\r\n`)
  const [answer] = await once(socket, 'data')
  return { socket, answer: String(answer) }
}

const closed = (socket: Socket) => (socket.destroyed ? Promise.resolve() : once(socket.resume(), 'close'))

test('a stranger keeps no connection: its answer ends it; a known caller keeps its own', async (context) => {
  const open = await start(context)
  const guarded = await start(context, { config: { apiKeys: ['one'] } })
  for (const [sidecar, head, status] of [
    [open, 'GET /evil HTTP/1.1', 403],
    [guarded, 'GET /api/devices HTTP/1.1', 401],
    [guarded, 'GET /api/devices HTTP/1.1\r\nx-api-key: two', 401],
    [guarded, 'GET /nowhere HTTP/1.1', 401],
    [guarded, 'GET /live HTTP/1.1', 200],
  ] as const) {
    const { socket, answer } = await ask(context, sidecar.port, head)
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*connection: close`, 'i'), head)
    await closed(socket)
  }
  for (const [sidecar, head] of [
    [open, 'GET /api/devices HTTP/1.1'],
    [guarded, 'GET /api/devices HTTP/1.1\r\nx-api-key: one'],
  ] as const) {
    const { socket, answer } = await ask(context, sidecar.port, head)
    assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*connection: keep-alive/i)
    socket.write(`${head}\r\nhost: localhost\r\n\r\n`)
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /)
  }
})

test('a stranger whose body is long reads why it is refused, and is closed then', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['one'] } })
  const agent = new Agent({ keepAlive: true })
  context.after(() => agent.destroy())
  const sent = request(`${sidecar.url}/api/admin/devices`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'application/json', 'content-length': 8_000_000 },
  })
  const answered = once(sent, 'response')
  sent.end(Buffer.alloc(8_000_000, 32))
  const [response] = await answered
  assert.equal(response.statusCode, 401)
  response.resume()
  await closed(response.socket)
})

test('one address cannot take all connections: others still get in', async (context) => {
  const sidecar = await start(context, { connections: { total: 6, perAddress: 3 } })
  const idle = Array.from({ length: 3 }, () => connect(sidecar.port, '127.0.0.1'))
  context.after(() => {
    for (const socket of idle) socket.destroy()
  })
  await Promise.all(idle.map((socket) => once(socket, 'connect')))
  const fourth = connect(sidecar.port, '127.0.0.1').on('error', () => {})
  await closed(fourth)
  assert.equal(fourth.bytesRead, 0)
  const other = await ask(context, sidecar.port, 'GET /live HTTP/1.1', '127.0.0.2')
  assert.match(other.answer, /^HTTP\/1\.1 200 /)
  idle[0]!.destroy()
  // The place is free once the sidecar has seen that it is.
  const served = async () => {
    const next = connect(sidecar.port, '127.0.0.1').on('error', () => {})
    next.write('GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    await closed(next)
    return next.bytesRead > 0
  }
  while (!(await served()));
})

test('probes are never held up, whoever spent the limit of their address', async (context) => {
  for (const apiKeys of [[], ['one']]) {
    const sidecar = await start(context, { config: { apiKeys, rateLimit: LIMIT } })
    for (let count = 0; count < 12; count += 1) await sidecar.get('/api/devices', bearer('wrong'))
    for (let count = 0; count < 12; count += 1) await sidecar.get('/api/devices')
    assert.equal((await sidecar.get('/api/devices')).status, 429)
    for (let count = 0; count < 20; count += 1) {
      assert.deepEqual([(await sidecar.get('/live')).status, (await sidecar.get('/ready')).status], [200, 200])
    }
  }
})

test('who guessed too often is told right from wrong no more; who was let in from there before still is', async (context) => {
  const keys = keyStore()
  const made = createKey({ name: 'board', scope: 'read' }, Date.now())
  await keys.add(made.record, { kind: 'cli', name: 'test' })
  const config = { apiKeys: ['used', 'unused'], rateLimit: LIMIT }
  const sidecar = await start(context, { services: plant({ keys }), config })
  const status = async (key: string, path = '/api/devices') => (await sidecar.get(path, bearer(key))).status
  assert.equal(await status('used'), 200)
  for (let count = 0; count < 10; count += 1) assert.equal(await status(`guess-${count}`), 401)
  assert.deepEqual(
    [await status('guess'), await status('unused'), await status(made.key), await status(made.key, '/api/audit')],
    [429, 429, 429, 429],
    'wrong, right, and right for less: all the same',
  )
  assert.equal(await status('used'), 200)
})

test('who forgot the credential, or may not, locks nobody out', async (context) => {
  const keys = keyStore()
  const made = createKey({ name: 'board', scope: 'read' }, Date.now())
  await keys.add(made.record, { kind: 'cli', name: 'test' })
  const sidecar = await start(context, { services: plant({ keys }), config: { apiKeys: ['one'], rateLimit: LIMIT } })
  for (let count = 0; count < 20; count += 1) await sidecar.get('/api/devices')
  const denied: number[] = []
  for (let count = 0; count < 7; count += 1) denied.push((await sidecar.get('/api/audit', bearer(made.key))).status)
  assert.deepEqual(denied, [403, 403, 403, 403, 403, 429, 429], 'its own share')
  assert.equal((await sidecar.get('/api/devices', bearer('one'))).status, 200)
})

test('without a credential a client is its network: an IPv6 address of 64 free bits is no new one', () => {
  const from = (ip: string) =>
    clientOf({ ip, caller: { actor: { kind: 'http', name: `open:${ip}` }, scope: 'read', anonymous: true } } as never)
  assert.equal(from('2001:db8::1'), from('2001:db8::ffff:2'))
  assert.notEqual(from('2001:db8::1'), from('2001:db8:0:1::1'))
  const known = { ip: '2001:db8::1', caller: { actor: { kind: 'http', name: 'key:abc' }, scope: 'read' } }
  assert.equal(clientOf(known as FastifyRequest), 'key:abc')
})

test('where callers came from is remembered within bounds', () => {
  const regulars = new Regulars()
  for (let count = 0; count < 6_000; count += 1) regulars.add(`address-${count}`, 'key:a')
  assert.deepEqual([regulars.has('address-0', 'key:a'), regulars.has('address-5999', 'key:a')], [false, true])
  for (let count = 0; count < 200; count += 1) regulars.add('address-5999', `key:${count}`)
  assert.deepEqual([regulars.has('address-5999', 'key:a'), regulars.has('address-5999', 'key:199')], [false, true])
})
