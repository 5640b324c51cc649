import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { bench, type KeepingStore, until } from './harness.js'

const fast = { first: 5, max: 5, jitter: 0 }

test('a failing message is retried parked, with back-off, and goes to the dead letters once', async () => {
  const attempts: number[] = []
  const { send, store, outgoing, engine } = bench((router) =>
    router.on(
      'a/{n}',
      (ctx) => {
        attempts.push(ctx.attempt)
        throw new Error('boom')
      },
      { attempts: 3, backoff: fast, name: 'poison' },
    ),
  )
  await send('a/1', { x: 1 })
  await until('the dead letter', () => engine.stats().dead_lettered === 1)
  const { inner, log } = store as KeepingStore
  assert.deepEqual(attempts, [1, 2, 3])
  assert.equal(inner.letters.length, 1)
  assert.equal(inner.letters[0]!.error.code, 'HANDLER_FAILED')
  assert.equal(inner.letters[0]!.attempts, 3)
  assert.equal(Buffer.from(inner.letters[0]!.payload, 'base64').toString(), '{"x":1}')
  await until('unparked', () => inner.parked.length === 0)
  assert.deepEqual(log, ['park', 'deadLetter', 'unpark'])
  const [notice] = outgoing.on('routemq/dead/a/1') as Record<string, unknown>[]
  assert.equal(notice!.route, 'poison')
  assert.equal('payload' in notice!, false)
  assert.equal(engine.stats().parked_now, 0)
})

test('a retried message is acknowledged before it is retried, and the next of its key waits for it', async () => {
  const order: string[] = []
  const { send, settled, engine } = bench((router) =>
    router.on(
      'k/{key}',
      (ctx) => {
        const { n } = ctx.payload as { n: number }
        order.push(`${n}.${ctx.attempt}`)
        if (n === 1 && ctx.attempt < 3) throw new Error('not yet')
      },
      { orderBy: 'key', attempts: 5, backoff: { first: 20, max: 20, jitter: 0 } },
    ),
  )
  const first = send('k/a', { n: 1 })
  const second = send('k/a', { n: 2 })
  const other = send('k/b', { n: 9 })
  await other
  await first
  assert.deepEqual(order, ['1.1', '9.1'])
  assert.equal(settled.includes('k/a'), true)
  await second
  await until('all handled', () => engine.stats().handled === 3)
  assert.deepEqual(order, ['1.1', '9.1', '1.2', '1.3', '2.1'])
})

test('without durable storage a message gets one attempt', async () => {
  let runs = 0
  const store = new MemoryStore()
  const { send } = bench(
    (router) =>
      router.on('a', () => {
        runs += 1
        throw new Error('boom')
      }),
    { store },
  )
  await send('a', 1)
  assert.equal(runs, 1)
  assert.equal(store.letters.length, 1)
})
