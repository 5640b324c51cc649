import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Context, Middleware } from '../../../core/router/context.js'
import { apiKeyAuth } from '../../../core/router/middleware/api-key-auth.js'
import { identityOf } from '../../../core/router/middleware/identity.js'
import type { Router } from '../../../core/router/router.js'
import { bench, KeepingStore, until } from './harness.js'

const SECRET = 'a-key-that-nobody-may-read'
const auth = apiKeyAuth({ keys: { 'line-a': SECRET } })

/** A route whose first message never ends, so that all that come after it wait before their middleware ran. */
function blocked(store: KeepingStore, seen: string[], authenticate = auth) {
  return bench(
    (router: Router) => {
      router.on(
        'jobs/{name}',
        async (ctx) => {
          if (ctx.params.name === 'endless') return new Promise(() => {})
          seen.push(`${ctx.params.name} by ${identityOf(ctx)?.name} ${ctx.raw.toString()}`)
          return undefined
        },
        { name: 'jobs', concurrency: 1, middleware: ['auth'], maxAge: '1h' },
      )
    },
    { store, ackHoldMs: 30, middleware: { auth: authenticate } },
  )
}

test('a message parked before its turn is kept without its credential, and runs as who it was', async () => {
  const store = new KeepingStore()
  const first = blocked(store, [])
  void first.send('jobs/endless', { api_key: SECRET })
  await first.send('jobs/field', { speed: 5, api_key: SECRET })
  await first.send('jobs/property', { speed: 6 }, { properties: { userProperties: { api_key: SECRET, line: '7' } } })
  await first.send('jobs/forged', { api_key: `${SECRET}-not` })
  await until('all are parked', () => store.inner.parked.length === 4)
  await first.engine.stop()
  for (const kept of store.inner.parked) {
    const text = JSON.stringify(kept) + Buffer.from(kept.payload, 'base64').toString()
    assert.doesNotMatch(text, new RegExp(SECRET))
  }

  const seen: string[] = []
  const second = blocked(store, seen)
  second.engine.resume(store.inner.parked.filter(({ topic }) => topic !== 'jobs/endless'))
  await until('they are finished', () => store.inner.parked.length === 1)
  assert.deepEqual(seen, ['field by line-a {"speed":5}', 'property by line-a {"speed":6}'])
  assert.equal(second.engine.stats().failed, 1, 'the forged one is refused')
  await second.engine.stop()
})

test('what never ran is a dead letter without its credential too', async () => {
  const store = new KeepingStore()
  const { send, engine } = blocked(store, [])
  await send('jobs/late', { api_key: SECRET, expires_at: 1_000 })
  await send('jobs/broken', Buffer.from(`{"api_key":"${SECRET}", "speed":`))
  assert.deepEqual(
    store.inner.letters.map(({ topic, error, payload }) => [
      topic,
      error.code,
      Buffer.from(payload, 'base64').toString(),
    ]),
    [
      ['jobs/late', 'COMMAND_EXPIRED', '{"expires_at":1000}'],
      ['jobs/broken', 'PAYLOAD_MALFORMED', ''],
    ],
  )
  await engine.stop()
})

test('while nobody can tell what a credential is worth, its message stays on its lane', async () => {
  const store = new KeepingStore()
  let away = true
  let asked = 0
  const unsure: Middleware = Object.assign(
    async (ctx: Context, next: () => Promise<unknown>) => {
      if (ctx.params.name === 'other') asked += 1
      if (away && ctx.params.name !== 'endless') throw new Error('the issuer does not answer')
      return next()
    },
    { marks: { authenticates: true } },
  )
  const { send, settled, engine } = bench(
    (router: Router) => {
      router.on('jobs/{name}', (ctx) => (ctx.params.name === 'endless' ? new Promise(() => {}) : undefined), {
        concurrency: 1,
        middleware: [unsure],
      })
    },
    { store, ackHoldMs: 30 },
  )
  void send('jobs/endless', {})
  const since = performance.now()
  const other = send('jobs/other', {})
  await until('the one before it is parked', () => settled.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.deepEqual([settled, store.inner.parked.length], [['jobs/endless'], 1])
  assert.ok(asked <= 2 + (performance.now() - since) / 1000, `the issuer was asked ${asked} times`)
  away = false
  await other
  assert.deepEqual(
    store.inner.parked.map(({ topic }) => topic),
    ['jobs/endless', 'jobs/other'],
  )
  await engine.stop()
})

test('a message whose credential could not be judged is tried again on its lane', async () => {
  const store = new KeepingStore()
  let tries = 0
  const unsure: Middleware = Object.assign(
    async (_: Context, next: () => Promise<unknown>) => {
      tries += 1
      if (tries < 4) throw new Error('the issuer does not answer')
      return next()
    },
    { marks: { authenticates: true } },
  )
  const { send, engine } = bench(
    (router: Router) => {
      router.on('jobs/{name}', () => {}, { middleware: [unsure], backoff: { first: 1 } })
    },
    { store },
  )
  await send('jobs/a', {})
  await until('it is handled', () => engine.stats().handled === 1)
  assert.deepEqual(store.inner.letters, [])
  await engine.stop()
})
