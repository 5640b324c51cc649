import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { toStored } from '../../../core/delivery/stored.js'
import { systemClock } from '../../../core/support/clock.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { bench, KeepingStore, message } from './harness.js'

test('the dead letter is kept before the message settles; while that fails the message stays', async () => {
  const store = new KeepingStore()
  let away = true
  store.fail = (method) => (away && method === 'deadLetter' ? new Error('database away') : undefined)
  const { send, settled } = bench(
    (router) =>
      router.on('a', () => {
        throw new RouteMQError('DEVICE_FAILURE', 'broken')
      }),
    { store },
  )
  const done = send('a', 1)
  await pause(60)
  assert.deepEqual(settled, [])
  away = false
  await done
  assert.equal(store.inner.letters.length, 1)
})

test('who was told of a fault of their own is not a dead letter; without an answer it is one', async () => {
  const { send, store } = bench((router) =>
    router.on('a', () => {
      throw new RouteMQError('DEVICE_UNKNOWN', 'no such device')
    }),
  )
  await send('a', { request_id: 1 })
  assert.equal((store as KeepingStore).inner.letters.length, 0)
  await send('a', {})
  assert.equal((store as KeepingStore).inner.letters.length, 1)
})

test('what middleware took out of raw is not in the dead letter, and what it proved is kept', async () => {
  const { send, store } = bench(
    (router) =>
      router.on(
        'a',
        () => {
          throw new Error('boom')
        },
        { attempts: 1, middleware: ['strip'] },
      ),
    {
      middleware: {
        strip: () => (ctx, next) => {
          ctx.raw = Buffer.from('{"clean":true}')
          ctx.state.auth = { name: 'ann' }
          return next()
        },
      },
    },
  )
  await send('a', { api_key: 'secret' })
  const [letter] = (store as KeepingStore).inner.letters
  assert.equal(Buffer.from(letter!.payload, 'base64').toString(), '{"clean":true}')
  assert.deepEqual(letter!.auth, { name: 'ann' })
})

test('an identity and details that JSON cannot carry hold up no lane: the letter is kept with what can be carried', async () => {
  const store = new KeepingStore()
  const deadLetter = store.deadLetter.bind(store)
  // As every store does, here or behind a process boundary.
  store.deadLetter = async (letter) => deadLetter(structuredClone(JSON.parse(JSON.stringify(letter))))
  const auth: Record<string, unknown> = { name: 'eve', serial: 5n, may: () => true }
  auth.self = auth
  const { send } = bench(
    (router) =>
      router.on('a', () => Promise.reject(new RouteMQError('HANDLER_FAILED', 'no', { details: { n: 7n, auth } })), {
        attempts: 1,
        middleware: ['who'],
      }),
    {
      store,
      middleware: {
        who: () => (ctx, next) => {
          ctx.state.auth = auth
          return next()
        },
      },
    },
  )
  await send('a', 1)
  const safe = { name: 'eve', serial: '5', self: '[circular]' }
  assert.deepEqual(
    store.inner.letters.map(({ auth, error }) => [auth, error.details]),
    [[safe, { n: '7', auth: safe }]],
  )
})

test('a letter that a store cannot carry is kept without what route code put into it', async () => {
  const store = new KeepingStore()
  const deadLetter = store.deadLetter.bind(store)
  let refused = 0
  store.deadLetter = async (letter) => {
    if (letter.error.details === undefined) return deadLetter(letter)
    refused += 1
    throw new DOMException('could not be cloned', 'DataCloneError')
  }
  const { send } = bench(
    (router) =>
      router.on('a', () => Promise.reject(new RouteMQError('HANDLER_FAILED', 'no', { details: { n: 1 } })), {
        attempts: 1,
      }),
    { store },
  )
  await send('a', 1)
  assert.equal(refused, 1)
  assert.deepEqual(
    store.inner.letters.map(({ error }) => error),
    [{ code: 'HANDLER_FAILED', message: 'no' }],
  )
})

test('a dead letter can be run again, past its deadline only by force', async () => {
  let ok = false
  let ahead = 0
  const { send, store, engine } = bench(
    (router) =>
      router.on(
        'a',
        () => {
          if (!ok) throw new RouteMQError('DEVICE_FAILURE', 'broken')
          return { done: true }
        },
        { maxAge: '30s' },
      ),
    { clock: { ...systemClock, now: () => systemClock.now() + ahead } },
  )
  await send('a', {})
  const [letter] = (store as KeepingStore).inner.letters
  assert.equal((await engine.run(letter!)).ok, false)
  ok = true
  ahead = 30_001
  const late = await engine.run(letter!)
  assert.equal(late.ok === false && late.error.code, 'COMMAND_EXPIRED')
  assert.deepEqual(await engine.run(letter!, { force: true }), { ok: true, value: { done: true } })
  await assert.rejects(engine.run({ ...letter!, route: 'gone' }), { code: 'ROUTE_UNKNOWN' })
  assert.equal((store as KeepingStore).inner.letters.length, 1)
})

test('a person who runs a letter again learns that its route takes no retained messages', async () => {
  const { engine, dispatcher } = bench((router) => router.on('a', () => 1))
  const retained = message('a', 1, { retain: true })
  const stored = toStored(dispatcher.routes[0]!.id, retained, retained.payload, {
    deadline: undefined,
    auth: undefined,
    payloadHash: undefined,
  })
  const skipped = await engine.run(stored)
  assert.equal(skipped.ok, false)
  assert.match(skipped.ok ? '' : skipped.error.message, /takes no retained messages/)
  assert.deepEqual(await engine.run(stored, { force: true }), { ok: true, value: 1 })
})
