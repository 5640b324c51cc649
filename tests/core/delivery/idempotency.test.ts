import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../../core/support/clock.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { bench, KeepingStore, until } from './harness.js'

const fast = { first: 5, max: 5, jitter: 0 }
const write = { op: 'write', device_id: 'd', items: [] } as const

test('a second copy gets the answer of the first and does not run', async () => {
  let runs = 0
  const { send, outgoing, engine } = bench((router) =>
    router.on('a/{id}', () => ({ run: ++runs }), { idempotent: true }),
  )
  await send('a/1', { request_id: 'x' })
  await send('a/1', { request_id: 'x' }, { dup: true })
  assert.deepEqual(outgoing.on('a/1/response'), [
    { request_id: 'x', run: 1 },
    { request_id: 'x', run: 1 },
  ])
  assert.equal(runs, 1)
  assert.equal(engine.stats().duplicate, 1)
})

test('a second copy that comes while the first runs waits for its answer and leaves its slot meanwhile', async () => {
  let runs = 0
  const { send, outgoing } = bench((router) =>
    router.on(
      'a',
      async () => {
        runs += 1
        await pause(40)
        return { run: runs }
      },
      { idempotent: true, concurrency: 2 },
    ),
  )
  await Promise.all([send('a', { request_id: 1 }), send('a', { request_id: 1 }), send('a', { request_id: 1 })])
  assert.equal(runs, 1)
  assert.deepEqual(outgoing.on('a/response'), Array(3).fill({ request_id: 1, run: 1 }))
})

test('the key is the request_id with route and topic, or response topic with correlation data; without either none', async () => {
  const ran: string[] = []
  const { send } = bench((router) => router.on('d/{id}', (ctx) => void ran.push(ctx.topic), { idempotent: true }))
  const asked = (n: number) => ({
    properties: { responseTopic: 'x/y/z/response', correlationData: Buffer.from([n]) },
  })
  await send('d/1', { request_id: 1 })
  await send('d/2', { request_id: 1 })
  await send('d/3', {}, asked(1))
  await send('d/3', {}, asked(1))
  await send('d/3', {}, asked(2))
  await send('d/4', {})
  await send('d/4', {})
  assert.deepEqual(ran, ['d/1', 'd/2', 'd/3', 'd/3', 'd/4', 'd/4'])
})

test('the same key with another payload is refused', async () => {
  let runs = 0
  const { send, outgoing } = bench((router) => router.on('a', () => ({ run: ++runs }), { idempotent: true }))
  await send('a', { request_id: 1, v: 1 })
  await send('a', { request_id: 1, v: 2 })
  const [, second] = outgoing.on('a/response') as { error: { code: string } }[]
  assert.equal(second!.error.code, 'IDEMPOTENCY_KEY_REUSED')
  assert.equal(runs, 1)
})

test('a copy that comes after the deadline still gets the answer of the first', async () => {
  const { send, outgoing } = bench((router) =>
    router.on('a', () => ({ done: true }), { idempotent: true, maxAge: '30s' }),
  )
  await send('a', { request_id: 1 })
  await send('a', { request_id: 1 }, { receivedAt: Date.now() - 60_000 })
  await send('a', { request_id: 2 }, { receivedAt: Date.now() - 60_000 })
  const answers = outgoing.on('a/response') as { done?: boolean; error?: { code: string } }[]
  assert.deepEqual(
    answers.map(({ done, error }) => error?.code ?? done),
    [true, true, 'COMMAND_EXPIRED'],
  )
})

test('a command whose first run was cut off is answered WRITE_OUTCOME_UNKNOWN and not run', async () => {
  const store = new KeepingStore()
  const claim = store.claim.bind(store)
  store.claim = async (key, hash) => {
    const found = await claim(key, hash)
    return found.state === 'claimed' ? { state: 'interrupted' } : found
  }
  let runs = 0
  const { send, outgoing } = bench((router) => router.on('a', () => ++runs, { idempotent: true }), { store })
  await send('a', { request_id: 1 })
  await send('a', { request_id: 1 })
  assert.equal(runs, 0)
  assert.deepEqual(
    (outgoing.on('a/response') as { error: { code: string } }[]).map(({ error }) => error.code),
    ['WRITE_OUTCOME_UNKNOWN', 'WRITE_OUTCOME_UNKNOWN'],
  )
})

test('a write that never reached the wire gives the claim back and is tried again', async () => {
  const { send, field, store, outgoing } = bench((router) =>
    router.on('a', async ({ devices }) => ({ written: await devices.request(write) }), {
      idempotent: true,
      backoff: fast,
    }),
  )
  let tries = 0
  field.answer = () => {
    tries += 1
    if (tries < 3) throw new RouteMQError('BREAKER_OPEN', 'open', { details: { results: [{ outcome: 'not_sent' }] } })
    return 'ok'
  }
  await send('a', { request_id: 1 })
  await until('the answer', () => outgoing.sent.length === 1)
  assert.deepEqual(outgoing.on('a/response'), [{ request_id: 1, written: 'ok' }])
  assert.deepEqual(
    (store as KeepingStore).log.filter((method) => ['claim', 'release', 'complete'].includes(method)),
    ['claim', 'release', 'claim', 'release', 'claim', 'complete'],
  )
})

test('a write with an unknown outcome is never repeated by itself', async () => {
  const { send, field, outgoing, store } = bench((router) =>
    router.on('a', ({ devices }) => devices.request(write), { attempts: 5, backoff: fast }),
  )
  field.answer = () => {
    throw new RouteMQError('WRITE_OUTCOME_UNKNOWN', 'no answer', { details: { results: [{ outcome: 'unknown' }] } })
  }
  await send('a', { request_id: 1 })
  assert.equal(field.requests.length, 1)
  assert.equal((outgoing.on('a/response') as { error: { code: string } }[])[0]!.error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal((store as KeepingStore).inner.letters.length, 1)
})

test('a handler that fails after a write that was carried out is not run again', async () => {
  let runs = 0
  const { send, field } = bench((router) =>
    router.on(
      'a',
      async ({ devices }) => {
        runs += 1
        await devices.request(write)
        throw new Error('database away')
      },
      { attempts: 5, backoff: fast },
    ),
  )
  await send('a', {})
  assert.equal(runs, 1)
  assert.equal(field.requests.length, 1)
})

test('a failed read is tried again', async () => {
  const { send, field, engine } = bench((router) =>
    router.on(
      'a',
      ({ devices }) => devices.request({ op: 'read', device_id: 'd', register_type: 'holding', address: 0, count: 1 }),
      { backoff: fast },
    ),
  )
  let tries = 0
  field.answer = () => {
    tries += 1
    if (tries < 3) throw new RouteMQError('DEVICE_TIMEOUT', 'silent')
    return {}
  }
  await send('a', {})
  await until('handled', () => engine.stats().handled === 1)
  assert.equal(tries, 3)
})

test('a time limit that passes while a write is on its way waits for its outcome', async () => {
  const settleWrite: { ok: () => void } = { ok: () => {} }
  const { send, field, outgoing } = bench((router) => {
    router.on('a/known', async ({ devices }) => ({ v: await devices.request(write) }), { timeout: 30, attempts: 1 })
    router.on('a/unknown', async ({ devices }) => ({ v: await devices.request(write) }), { timeout: 30, attempts: 1 })
  })
  field.answer = (_request, signal) =>
    new Promise((resolve) => {
      settleWrite.ok = () => resolve('late')
      signal!.addEventListener('abort', () => setTimeout(settleWrite.ok, 30))
    })
  await send('a/known', { request_id: 1 })
  assert.deepEqual(outgoing.on('a/known/response'), [{ request_id: 1, v: 'late' }])
  field.answer = () => new Promise(() => {})
  await send('a/unknown', { request_id: 1 })
  const [answer] = outgoing.on('a/unknown/response') as { error: { code: string } }[]
  assert.equal(answer!.error.code, 'WRITE_OUTCOME_UNKNOWN')
})

test('an unexpected failure of a command is its outcome; a refusal gives the claim back', async () => {
  let broken = true
  const { send, outgoing } = bench((router) => {
    router.on('a/breaks', () => Promise.reject(new Error('boom')), { idempotent: true, attempts: 1 })
    router.on(
      'a/refuses',
      () => {
        if (broken) throw new RouteMQError('WRITE_DISABLED', 'locked')
        return { done: true }
      },
      { idempotent: true },
    )
  })
  await send('a/breaks', { request_id: 1 })
  await send('a/breaks', { request_id: 1 })
  await send('a/refuses', { request_id: 1 })
  broken = false
  await send('a/refuses', { request_id: 1 })
  const codes = (topic: string) =>
    (outgoing.on(topic) as { error?: { code: string } }[]).map(({ error }) => error?.code)
  assert.deepEqual(codes('a/breaks/response'), ['HANDLER_FAILED', 'HANDLER_FAILED'])
  assert.deepEqual(codes('a/refuses/response'), ['WRITE_DISABLED', undefined])
})

test('a repeated failure is not a second dead letter', async () => {
  const { send, store } = bench((router) =>
    router.on('a', () => Promise.reject(new Error('boom')), { idempotent: true, attempts: 1 }),
  )
  await send('a', { request_id: 1 })
  await send('a', { request_id: 1 })
  assert.equal((store as KeepingStore).inner.letters.length, 1)
})

test('a dead letter of a command runs again when a person asks, after an unknown outcome only by force', async () => {
  let outcome = 'unknown'
  const { send, store, field, engine } = bench((router) =>
    router.on('a', async ({ devices }) => ({ v: await devices.request(write) }), { idempotent: true }),
  )
  field.answer = () => {
    if (outcome === 'ok') return 'written'
    throw new RouteMQError('WRITE_OUTCOME_UNKNOWN', '?', { details: { results: [{ outcome }] } })
  }
  await send('a', { request_id: 1 })
  const [letter] = (store as KeepingStore).inner.letters
  outcome = 'ok'
  const plain = await engine.run(letter!)
  assert.equal(plain.ok === false && plain.error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(field.requests.length, 1)
  assert.deepEqual(await engine.run(letter!, { force: true }), { ok: true, value: { v: 'written' } })
})

test('answers in bytes and without a value are kept as they were', async () => {
  const { send, outgoing } = bench((router) => {
    router.on('a/raw', () => Buffer.from([9, 8]), { idempotent: true, reply: true })
    router.on('a/none', () => undefined, { idempotent: true, reply: true })
  })
  for (const topic of ['a/raw', 'a/none']) {
    await send(topic, { request_id: 1 })
    await send(topic, { request_id: 1 })
  }
  assert.deepEqual(
    outgoing.sent.map(({ payload }) => [...payload]),
    [
      [9, 8],
      [9, 8],
    ],
  )
})

test('a copy whose first never ends gives up past its deadline, once the first could not run any more', async () => {
  const store = new KeepingStore()
  let asked = 0
  store.claim = async () => {
    asked += 1
    return { state: 'running' }
  }
  let ahead = 0
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + ahead }
  const { send, outgoing, engine } = bench((router) => router.on('a', () => 1, { idempotent: true, maxAge: 1_000 }), {
    store,
    clock,
  })
  const old = Date.now() - 60_000
  await send('a', { request_id: 1, timestamp: old })
  await until('it waits', () => asked > 1)
  assert.deepEqual(outgoing.on('a/response'), [], 'the first may still drive')
  ahead = 62_000
  await until('its end', () => engine.stats().expired === 1 && outgoing.on('a/response').length > 0)
  assert.equal((outgoing.on('a/response')[0] as { error: { code: string } }).error.code, 'COMMAND_EXPIRED')
})
