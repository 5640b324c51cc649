import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Context, type MiddlewareFactory, Router } from 'routemq'
import { loadMiddleware } from '../../core/router/discovery.js'

const root = join(import.meta.dirname, '../..')
const loaded: Readonly<Record<string, MiddlewareFactory>> = await loadMiddleware(join(root, 'middleware'))

interface Line {
  readonly level: string
  readonly sentence: string
}

function message(payload: unknown, lines: Line[] = []): Context {
  const write = (level: string) => (_: object, sentence: string) => lines.push({ level, sentence })
  return {
    payload,
    raw: Buffer.from(JSON.stringify(payload)),
    topic: 'devices/1/write',
    params: {},
    state: {},
    attempt: 1,
    route: { id: 'r' },
    message: { qos: 1, properties: {} },
    log: { debug: write('debug'), warn: write('warn') },
  } as unknown as Context
}

test('the default application ships these middleware, by file name', () => {
  assert.deepEqual(Object.keys(loaded), ['auth', 'idempotent', 'log', 'throttle', 'timeout', 'validate'])
})

test('log, auth and throttle work together as the device router names them', async () => {
  const router = new Router()
  router.on('devices/{id}/write', (ctx) => ctx.payload, { middleware: ['log', 'auth', 'throttle:2,60'] })
  const services = { config: { app: { apiKeys: ['k'] } } }
  const [route] = router.commit({ middleware: loaded, services }).routes
  assert.deepEqual(route!.middleware, ['log', 'auth', 'throttle:2,60'])
  const lines: Line[] = []
  assert.deepEqual(await route!.run(message({ api_key: 'k', value: 1 }, lines)), { value: 1 })
  await assert.rejects(route!.run(message({ value: 1 }, lines)), { code: 'UNAUTHENTICATED' })
  await route!.run(message({ api_key: 'k', value: 1 }, lines))
  await assert.rejects(route!.run(message({ api_key: 'k', value: 1 }, lines)), { code: 'THROTTLED' })
  assert.deepEqual(
    lines.map(({ sentence }) => sentence),
    ['handled', 'failed', 'handled', 'failed'],
  )
})

test('without keys auth lets everyone in and says so', async () => {
  const router = new Router()
  router.on('a', () => 'ran', { middleware: ['auth'] })
  const [route] = router.commit({ middleware: loaded, services: { config: { app: { apiKeys: [] } } } }).routes
  const lines: Line[] = []
  assert.equal(await route!.run(message({}, lines)), 'ran')
  assert.match(lines[0]!.sentence, /lets everyone in/)
})

test('timeout and idempotent mark the route, validate wants fields', async () => {
  const router = new Router()
  router.on('a', () => 'ran', { middleware: ['timeout:5s', 'idempotent', 'validate:request_id'] })
  const [route] = router.commit({ middleware: loaded }).routes
  assert.equal(route!.timeoutMs, 5_000)
  assert.equal(route!.idempotent, true)
  await assert.rejects(route!.run(message({})), { code: 'PAYLOAD_INVALID' })
})
