import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { type BenchOptions, bench, closedGate, KeepingStore, message, until } from './harness.js'

test('a message held longer than ackHold is parked, acknowledged and finished from there', async () => {
  const gate = closedGate()
  const { send, store, outgoing, engine } = bench(
    (router) =>
      router.on('a', async () => {
        await gate.opened
        return { ok: true }
      }),
    { ackHoldMs: 40 },
  )
  await send('a', { request_id: 'x' })
  const { inner } = store as KeepingStore
  assert.equal(inner.parked.length, 1)
  assert.equal(engine.stats().parked_now, 1)
  assert.deepEqual(outgoing.sent, [])
  gate.open()
  await until('the reply', () => outgoing.sent.length === 1)
  await until('unparked', () => inner.parked.length === 0)
  assert.equal(engine.stats().handled, 1)
})

test('without durable storage nothing is parked: the message keeps its place', async () => {
  const gate = closedGate()
  const { send, settled } = bench((router) => router.on('a', () => gate.opened), {
    ackHoldMs: 20,
    store: new MemoryStore(),
  })
  const done = send('a', 1)
  await pause(100)
  assert.deepEqual(settled, [])
  gate.open()
  await done
})

test('a message that holds up others is parked before ackHold is over, and its slot goes to them', async () => {
  const gate = closedGate()
  const { send, settled, engine } = bench(
    (router) =>
      router.on('d/{id}', ({ params }) => (params.id === 'dead' ? gate.opened : undefined), { concurrency: 2 }),
    { ackHoldMs: 60_000 },
  )
  const held = send('d/dead', 1)
  for (let n = 0; n < 10; n++) await send(`d/${n}`, 1)
  await held
  assert.equal(settled.at(-1), 'd/dead')
  assert.equal(engine.stats().parked, 1)
  // Its neighbours are parked at once, and both slots are free for the others.
  await Promise.all([send('d/dead', 2), send('d/dead', 3), send('d/dead', 4)])
  await Promise.all([send('d/1', 1), send('d/2', 1)])
  assert.equal(engine.stats().parked, 4)
  gate.open()
  await until('all handled', () => engine.stats().handled === 16)
  assert.equal(engine.stats().retried, 0, 'none waited until its time limit')
  await until('nothing parked', () => engine.stats().parked_now === 0)
  await send('d/dead', 5)
  assert.equal(engine.stats().parked, 4)
})

test('a route with concurrency 1 never runs two at a time, parked or not', async () => {
  let running = 0
  let most = 0
  const { send, engine } = bench(
    (router) =>
      router.on(
        'a/{n}',
        async () => {
          most = Math.max(most, ++running)
          await pause(30)
          running -= 1
        },
        { concurrency: 1 },
      ),
    { ackHoldMs: 10 },
  )
  await Promise.all(Array.from({ length: 6 }, (_, n) => send(`a/${n}`, 1)))
  await until('all handled', () => engine.stats().handled === 6)
  assert.equal(most, 1)
  assert.equal(engine.stats().parked > 0, true)
})

test('past the bound of parked messages a message stays on its lane', async () => {
  const gate = closedGate()
  const { send, settled, engine } = bench((router) => router.on('a/{n}', () => gate.opened), {
    ackHoldMs: 20,
    parking: { messages: 2 },
  })
  const sends = [1, 2, 3, 4].map((n) => send(`a/${n}`, 1))
  await until('two are parked', () => settled.length >= 2)
  await pause(100)
  assert.equal(settled.length, 2)
  gate.open()
  await Promise.all(sends)
  assert.equal(engine.stats().handled, 4)
})

/** A route `a` whose first runs fail. */
function failing(first: number, attempts: number, options: BenchOptions) {
  const runs: number[] = []
  const { send, engine } = bench(
    (router) =>
      router.on(
        'a',
        (ctx) => {
          runs.push(ctx.attempt)
          if (runs.length <= first) throw new Error('not yet')
        },
        { attempts, backoff: { first: 5, max: 5, jitter: 0 } },
      ),
    options,
  )
  return { send, engine, runs }
}

test('a message that cannot be parked stays on its lane with all its attempts, and is not lost', async () => {
  const store = new KeepingStore()
  store.fail = (method) => (method === 'park' ? new Error('disk full') : undefined)
  const { send, engine, runs } = failing(2, 2, { store })
  await send('a', 1)
  assert.deepEqual(runs, [1, 2])
  assert.equal(store.inner.letters.length, 1)
  assert.equal(engine.stats().park_refused, 1)
})

test('a retryable failure while nothing can be parked pauses on its lane and is tried again', async () => {
  const store = new KeepingStore()
  const { send, engine, runs } = failing(2, 3, { store, parking: { messages: 0 } })
  await send('a', 1)
  assert.deepEqual(runs, [1, 2, 3])
  assert.deepEqual(store.inner.letters, [])
  assert.equal(engine.stats().retried, 2)
  assert.equal(engine.stats().parked, 0)
})

test('parked messages of an earlier life are finished after a restart, in the order of their key', async () => {
  const store = new KeepingStore()
  const first = bench((router) => router.on('k/{key}', () => new Promise(() => {}), { orderBy: 'key' }), {
    store,
    ackHoldMs: 10,
  })
  await Promise.all([first.send('k/a', { n: 1 }), first.send('k/a', { n: 2 }), first.send('k/a', { n: 3 })])
  await first.engine.stop()
  assert.equal(store.inner.parked.length, 3)
  const seen: number[] = []
  const second = bench(
    (router) =>
      router.on(
        'k/{key}',
        async ({ payload }) => {
          await pause(3)
          seen.push((payload as { n: number }).n)
        },
        { orderBy: 'key' },
      ),
    { store },
  )
  second.engine.resume(store.inner.parked)
  await second.send('k/a', { n: 4 })
  assert.deepEqual(seen, [1, 2, 3, 4])
  await until('all unparked', () => store.inner.parked.length === 0)
})

test('a parked message keeps no more in memory than its own bytes', async () => {
  const store = new KeepingStore()
  let unparked: Buffer | undefined
  const { engine, lane } = bench(
    (router) =>
      router.on(
        'jobs',
        async (ctx) => {
          if (store.inner.parked.length === 0) throw new Error('not now')
          unparked = ctx.raw
        },
        { name: 'jobs', attempts: 2, backoff: { first: 1, max: 1 } },
      ),
    { store },
  )
  const chunk = Buffer.alloc(65_536, 0x20)
  chunk.write('{"a":1}')
  lane(message('jobs', chunk.subarray(0, 7)), () => {})
  await until('it has run again', () => unparked !== undefined)
  assert.equal(unparked?.toString(), '{"a":1}')
  assert.equal(unparked?.buffer.byteLength, 7)
  await engine.stop()
})
