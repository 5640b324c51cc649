import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { createKey } from '../../../core/http/keys.js'
import { startSidecar } from '../../../core/http/sidecar.js'
import { call } from './client.js'
import { httpConfig, keyStore, plant, RUN_TOKEN } from './fake-services.js'
import { start } from './started.js'

async function takenPort(context: { after(run: () => void): void }): Promise<number> {
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  context.after(() => holder.close())
  return (holder.address() as { port: number }).port
}

test('a taken port moves where it may, and the address says so', async (context) => {
  const port = await takenPort(context)
  const sidecar = await start(context, { config: { port, mayMove: true } })
  assert.equal(sidecar.moved, true)
  assert.notEqual(sidecar.port, port)
  assert.equal(sidecar.url, `http://127.0.0.1:${sidecar.port}`)
  assert.equal((await sidecar.get('/live')).status, 200)
})

test('a port that was set and is taken ends the start', async (context) => {
  const port = await takenPort(context)
  await assert.rejects(start(context, { config: { port } }), (error: { code: string; message: string }) => {
    assert.equal(error.code, 'PORT_IN_USE')
    assert.match(error.message, new RegExp(String(port)))
    return true
  })
})

test('an address others reach is refused without credentials, taken with them', async (context) => {
  for (const host of ['0.0.0.0', '::']) {
    await assert.rejects(start(context, { config: { host } }), { code: 'CONFIG_INVALID' }, host)
  }
  const open = await start(context, { config: { host: '0.0.0.0', apiKeys: ['a-key-of-the-configuration'] } })
  assert.equal(open.url, `http://127.0.0.1:${open.port}`)
  assert.equal((await open.get('/api/devices')).status, 401)
  const kept = plant({ keys: keyStore([]) })
  await assert.rejects(start(context, { services: kept, config: { host: '0.0.0.0' } }), { code: 'CONFIG_INVALID' })
  const old = createKey({ name: 'n', scope: 'admin', expiresAt: '2020-01-01T00:00:00.000Z' }, Date.now())
  const expired = plant({ keys: keyStore([old.record]) })
  const shut = await start(context, { services: expired, config: { host: '0.0.0.0' } })
  assert.equal((await shut.get('/api/devices')).status, 401)
  assert.equal((await shut.get('/api/devices', { headers: { 'x-api-key': old.key } })).status, 401)
  assert.equal((await shut.get('/api/devices', { headers: { 'x-api-key': RUN_TOKEN } })).status, 200)
})

test('an address that is not ours names the setting', async (context) => {
  await assert.rejects(start(context, { config: { host: '192.0.2.1', apiKeys: ['k'] } }), {
    code: 'CONFIG_INVALID',
    details: { key: 'HTTP_HOST', host: '192.0.2.1', port: 0 },
  })
})

test('closing lets a request finish, ends streams, and may be asked for twice', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let entered = () => {}
  const inside = new Promise<void>((resolve) => {
    entered = resolve
  })
  let subscribed = () => {}
  const streaming = new Promise<void>((resolve) => {
    subscribed = resolve
  })
  const services = plant({
    ready: async () => {
      entered()
      await held
      return { ready: true, checks: {} }
    },
    live: () => {
      subscribed()
      return () => {}
    },
  })
  const sidecar = await startSidecar({ services, config: httpConfig(), runToken: RUN_TOKEN })
  const slow = call(sidecar.url, 'GET', '/ready')
  const stream = call(sidecar.url, 'GET', '/api/stream')
  await Promise.all([inside, streaming])
  const closing = Promise.all([sidecar.close(5_000), sidecar.close(5_000)])
  assert.match((await stream).text, /^retry: 2000/)
  release()
  assert.equal((await slow).status, 200)
  await closing
  await assert.rejects(call(sidecar.url, 'GET', '/live'), { code: 'ECONNREFUSED' })
})

test('what has not finished by the deadline is cut off', async () => {
  const services = plant({ ready: () => new Promise(() => {}) })
  const sidecar = await startSidecar({ services, config: httpConfig(), runToken: RUN_TOKEN })
  const stuck = assert.rejects(call(sidecar.url, 'GET', '/ready'), { code: 'ECONNRESET' })
  await call(sidecar.url, 'GET', '/live')
  await sidecar.close(50)
  await stuck
})

test("an application's own routes get credentials, problem documents and a place in the OpenAPI", async (context) => {
  const sidecar = await start(context, {
    config: { apiKeys: ['secret-key'] },
    extend: (app, services) => {
      app.get('/plant/:line', async (request) => {
        const { line } = request.params as { line: string }
        return { line, device: await services.devices.get(line) }
      })
    },
  })
  assert.equal((await sidecar.get('/plant/a')).status, 401)
  const missing = await sidecar.get('/plant/a', { headers: { 'x-api-key': 'secret-key' } })
  assert.equal(missing.status, 404)
  assert.equal(missing.body.code, 'DEVICE_UNKNOWN')
  const document = await sidecar.get('/openapi.json', { headers: { 'x-api-key': 'secret-key' } })
  assert.ok(document.body.paths['/plant/{line}'])
})
