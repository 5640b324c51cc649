import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { RouteMQError } from '../../../core/support/errors.js'
import { bench, type KeepingStore, message, until } from './harness.js'

test('every matching route runs exactly once and the message settles after all', async () => {
  const ran: string[] = []
  const { send, engine } = bench((router) => {
    router.on('a/{x}', async () => {
      await pause(10)
      ran.push('slow')
    })
    router.on('a/#', () => void ran.push('wide'))
    router.on('a/b', () => void ran.push('exact'))
    router.on('other', () => void ran.push('other'))
  })
  await send('a/b', 1)
  assert.deepEqual(ran.sort(), ['exact', 'slow', 'wide'])
  assert.equal(engine.stats().handled, 3)
  assert.equal(engine.stats().in_flight, 0)
})

test('a copy runs only the routes of the subscriptions that delivered it', async () => {
  const ran: string[] = []
  const { send } = bench((router) => {
    router.on('a/#', () => void ran.push('wide'))
    router.on('a/{x}', () => void ran.push('one'))
  })
  await send('a/b', 1, { subscriptionIds: [1] })
  assert.deepEqual(ran, ['wide'])
  await send('a/b', 1, { subscriptionIds: [2] })
  assert.deepEqual(ran, ['wide', 'one'])
  await send('a/b', 1, { subscriptionIds: [1, 2] })
  assert.deepEqual(ran.slice(2).sort(), ['one', 'wide'])
})

test('a message on an unrouted topic is counted and settled', async () => {
  const { send, engine } = bench((router) => router.on('a', () => 1))
  await send('b', 1)
  assert.equal(engine.stats().unrouted, 1)
})

test('an empty level is no value for a parameter: nothing runs, nobody is answered', async () => {
  const ran: string[] = []
  const { send, engine, outgoing } = bench((router) =>
    router.on('devices/{device_id}/write', (ctx) => ran.push(ctx.topic)),
  )
  await send('devices//write', { request_id: 'r' })
  assert.deepEqual([ran, outgoing.sent], [[], []])
  assert.equal(engine.stats().unrouted, 1)
})

test('no more than `concurrency` messages of a route run at a time', async () => {
  let running = 0
  let most = 0
  const { send } = bench((router) =>
    router.on(
      'a/{n}',
      async () => {
        most = Math.max(most, ++running)
        await pause(5)
        running -= 1
      },
      { concurrency: 3 },
    ),
  )
  await Promise.all(Array.from({ length: 20 }, (_, n) => send(`a/${n}`, 1)))
  assert.equal(most, 3)
})

test('a handler that throws, rejects or never settles does not touch its neighbours', async () => {
  const { send, engine } = bench((router) => {
    router.on(
      'x/throws',
      () => {
        throw new Error('sync')
      },
      { attempts: 1 },
    )
    router.on('x/rejects', async () => Promise.reject(new Error('async')), { attempts: 1 })
    router.on('x/hangs', () => new Promise(() => {}), { attempts: 1, timeout: 30 })
    router.on('x/odd', () => Promise.reject(undefined), { attempts: 1 })
    router.on('x/fine', () => 1)
  })
  await Promise.all(['throws', 'rejects', 'hangs', 'odd', 'fine'].map((name) => send(`x/${name}`, 1)))
  assert.equal(engine.stats().failed, 4)
  assert.equal(engine.stats().handled, 1)
  assert.equal(engine.stats().dead_lettered, 4)
})

test('a handler past its time limit is aborted and answered HANDLER_TIMEOUT', async () => {
  let aborted = false
  const { send, outgoing } = bench((router) =>
    router.on(
      'a',
      ({ signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted = true
            reject(signal.reason)
          })
        }),
      { timeout: 30, attempts: 1 },
    ),
  )
  await send('a', { request_id: 1 })
  assert.equal(aborted, true)
  assert.equal((outgoing.on('a/response') as { error: { code: string } }[])[0]!.error.code, 'HANDLER_TIMEOUT')
})

test('terminate work runs after the acknowledgement, and its failure changes nothing', async () => {
  const order: string[] = []
  const { lane, engine } = bench((router) =>
    router.on('a', (ctx) => {
      ctx.terminate(() => void order.push('after'))
      ctx.terminate(() => Promise.reject(new Error('late')))
      order.push('handler')
    }),
  )
  lane(message('a', 1), () => order.push('settled'))
  await until('the work', () => order.length === 3)
  assert.deepEqual(order, ['handler', 'settled', 'after'])
  assert.equal(engine.stats().failed, 0)
})

test('ctx.publish refuses bad topics and oversized payloads before anything is sent', async () => {
  const errors: string[] = []
  const { send, outgoing } = bench(
    (router) =>
      router.on('a', async ({ publish, call }) => {
        for (const [topic, payload] of [
          ['x/+', 1],
          ['x', 'y'.repeat(200)],
        ] as const) {
          await publish(topic, payload).catch((error: RouteMQError) => errors.push(error.code))
        }
        await publish('x', { big: 10n })
        assert.deepEqual(await call('q', 1), { topic: 'q', payload: 1 })
      }),
    { maxPacketBytes: 100 },
  )
  await send('a', 1)
  assert.deepEqual(errors, ['TOPIC_INVALID', 'PAYLOAD_TOO_LARGE'])
  assert.deepEqual(outgoing.on('x'), [{ big: 10 }])
})

test('a payload over the bound is refused, answered and not kept', async () => {
  const ran: number[] = []
  const { send, outgoing, store } = bench((router) => router.on('a', () => ran.push(1), { reply: true }), {
    maxPacketBytes: 10,
  })
  await send('a', 'x'.repeat(50))
  await send('a', Buffer.alloc(0), { oversize: 5_000_000 })
  assert.equal(outgoing.on('a/response').length, 2)
  assert.deepEqual(ran, [])
  assert.equal((outgoing.on('a/response') as { error: { code: string } }[])[0]!.error.code, 'PAYLOAD_TOO_LARGE')
  assert.equal((store as KeepingStore).inner.letters.length, 0)
})

test('a message with too many properties is refused, answered and not kept', async () => {
  const ran: number[] = []
  const { send, outgoing, store } = bench((router) => router.on('a', () => ran.push(1), { reply: true }))
  await send('a', Buffer.alloc(0), { withheld: 'PROPERTIES_TOO_LARGE' })
  const answers = outgoing.on('a/response') as { error: { code: string } }[]
  assert.deepEqual(
    answers.map(({ error }) => error.code),
    ['PROPERTIES_TOO_LARGE'],
  )
  assert.deepEqual(ran, [])
  assert.equal((store as KeepingStore).inner.letters.length, 0)
})
