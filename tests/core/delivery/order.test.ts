import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { bench, KeepingStore, until } from './harness.js'

test('orderBy keeps the messages of a key in order while other keys run beside them', async () => {
  const seen: Record<string, number[]> = {}
  let beside = 0
  let running = 0
  const { send } = bench((router) =>
    router.on(
      'k/{key}',
      async ({ params, payload }) => {
        beside = Math.max(beside, ++running)
        await pause(Math.random() * 4)
        const key = String(params.key)
        seen[key] = [...(seen[key] ?? []), (payload as { n: number }).n]
        running -= 1
      },
      { orderBy: 'key', concurrency: 8 },
    ),
  )
  const sends = []
  for (let n = 0; n < 60; n++) sends.push(send(`k/${n % 4}`, { n }))
  await Promise.all(sends)
  for (const list of Object.values(seen))
    assert.deepEqual(
      list,
      [...list].sort((one, other) => one - other),
    )
  assert.equal(Object.values(seen).flat().length, 60)
  assert.equal(beside, 4)
})

test('a message that arrives at a stalled key is not parked before those that came earlier and are still held', async () => {
  const clock = new FakeClock()
  const store = new KeepingStore()
  const { send, engine } = bench((router) => router.on('k/{key}', () => new Promise(() => {}), { orderBy: 'key' }), {
    store,
    ackHoldMs: 1_000,
    clock,
  })
  const first = send('k/a', { n: 1 })
  await clock.advance(950)
  const later = [send('k/a', { n: 2 }), send('k/b', { n: 20 }), send('k/a', { n: 3 })]
  await clock.advance(60)
  await first
  // Its key is stalled now; 2 and 3 are young.
  assert.equal(store.inner.parked.length, 1)
  await send('k/a', { n: 4 })
  await Promise.all([later[0], later[2]])
  const numbers = () => store.inner.parked.map(({ payload }) => JSON.parse(Buffer.from(payload, 'base64').toString()).n)
  assert.deepEqual(numbers(), [1, 2, 3, 4], 'and another key is left where it is')
  await engine.stop()
})

test('a poison message that is retried leaves the other keys of its route alone', async () => {
  const handled: string[] = []
  // The test says when a pause between two attempts is over.
  const pauses: (() => void)[] = []
  const pauseMs = 54_321
  const after: Clock['after'] = (ms, run, options) => {
    if (ms !== pauseMs) return systemClock.after(ms, run, options)
    pauses.push(run)
    return () => {}
  }
  const { send, engine } = bench(
    (router) =>
      router.on(
        'k/{key}',
        ({ params }) => {
          if (params.key === 'poison') throw new Error('boom')
          handled.push(String(params.key))
        },
        { orderBy: 'key', concurrency: 4, attempts: 6, backoff: { first: pauseMs, max: pauseMs, jitter: 0 } },
      ),
    { clock: { ...systemClock, after } },
  )
  const poisoned = Promise.all([send('k/poison', 1), send('k/poison', 2)])
  for (let n = 0; n < 500; n++) {
    await send(`k/${n % 10}`, n)
    // Before the first, and four times in between, the poison has failed once more and pauses.
    if (n % 100 > 0) continue
    await until('it pauses', () => pauses.length === 1)
    if (n > 0) pauses.shift()!()
  }
  assert.equal(handled.length, 500)
  assert.equal(engine.stats().dead_lettered, 0)
  await until('both in the dead letters', () => {
    pauses.shift()?.()
    return engine.stats().dead_lettered === 2
  })
  await poisoned
  assert.equal(engine.stats().retried, 10)
})

test('where the engine itself breaks over a message, that is a dead letter, and the next of its key has its turn', async () => {
  const seen: number[] = []
  const store = new KeepingStore()
  const watch = {
    begin: () => Promise.reject(new Error('a defect')),
    end: async () => {},
    bury: async () => {},
  }
  const { send, engine, outgoing } = bench(
    (router) =>
      router.on(
        'k/{key}',
        ({ payload }) => {
          seen.push((payload as { n: number }).n)
        },
        { orderBy: 'key', reply: true },
      ),
    { store, watch },
  )
  const broken = send('k/a', { n: 1 }, { dup: true })
  await Promise.all([broken, send('k/a', { n: 2 }), send('k/a', { n: 3 })])
  assert.deepEqual(seen, [2, 3])
  assert.deepEqual(
    store.inner.letters.map(({ topic, error, payload }) => [topic, error.code, payload]),
    [['k/a', 'INTERNAL', Buffer.from('{"n":1}').toString('base64')]],
  )
  assert.deepEqual(
    (outgoing.on('k/a/response') as { error: { code: string } }[]).map(({ error }) => error.code),
    ['INTERNAL'],
  )
  await engine.stop()
})
