import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { Router } from '../../../core/router/router.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { bench, KeepingStore, message, until } from './harness.js'

const fast = { first: 5, max: 5, jitter: 0 }

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

test('a message held longer than ackHold is parked, acknowledged and finished from there', async () => {
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { send, store, outgoing, engine } = bench(
    (router) =>
      router.on('a', async () => {
        await gate
        return { ok: true }
      }),
    { ackHoldMs: 40 },
  )
  await send('a', { request_id: 'x' })
  const { inner } = store as KeepingStore
  assert.equal(inner.parked.length, 1)
  assert.equal(engine.stats().parked_now, 1)
  assert.deepEqual(outgoing.sent, [])
  open()
  await until('the reply', () => outgoing.sent.length === 1)
  await until('unparked', () => inner.parked.length === 0)
  assert.equal(engine.stats().handled, 1)
})

test('without durable storage nothing is parked: the message keeps its place', async () => {
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { send, settled } = bench((router) => router.on('a', () => gate), { ackHoldMs: 20, store: new MemoryStore() })
  const done = send('a', 1)
  await pause(100)
  assert.deepEqual(settled, [])
  open()
  await done
})

test('a message that holds up others is parked before ackHold is over, and its slot goes to them', async () => {
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { send, settled, engine } = bench(
    (router) => router.on('d/{id}', ({ params }) => (params.id === 'dead' ? gate : undefined), { concurrency: 2 }),
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
  open()
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
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { send, settled, engine } = bench((router) => router.on('a/{n}', () => gate), {
    ackHoldMs: 20,
    parking: { messages: 2 },
  })
  const sends = [1, 2, 3, 4].map((n) => send(`a/${n}`, 1))
  await until('two are parked', () => settled.length >= 2)
  await pause(100)
  assert.equal(settled.length, 2)
  open()
  await Promise.all(sends)
  assert.equal(engine.stats().handled, 4)
})

test('a message that cannot be parked stays on its lane with all its attempts, and is not lost', async () => {
  const store = new KeepingStore()
  store.fail = (method) => (method === 'park' ? new Error('disk full') : undefined)
  let runs = 0
  const { send, engine } = bench(
    (router) =>
      router.on(
        'a',
        () => {
          runs += 1
          throw new Error('boom')
        },
        { attempts: 2, backoff: { first: 5, max: 5, jitter: 0 } },
      ),
    { store },
  )
  await send('a', 1)
  assert.equal(runs, 2)
  assert.equal(store.inner.letters.length, 1)
  assert.equal(engine.stats().park_refused, 1)
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

test('a command that was parked before its turn keeps its deadline over a restart', async () => {
  const store = new KeepingStore()
  let ahead = 0
  const clock = { ...systemClock, now: () => systemClock.now() + ahead }
  const define = (run: () => unknown) => (router: Router) =>
    void router.on('k/{key}', run, { orderBy: 'key', maxAge: '30s', reply: true })
  const first = bench(
    define(() => new Promise(() => {})),
    { store, ackHoldMs: 10, clock },
  )
  await Promise.all([first.send('k/a', { n: 1 }), first.send('k/a', { n: 2 })])
  await first.engine.stop()
  ahead = 30_001
  let runs = 0
  const second = bench(
    define(() => runs++),
    { store, clock },
  )
  second.engine.resume(store.inner.parked)
  await until('both ended', () => second.engine.stats().failed === 2)
  assert.equal(runs, 0)
  assert.equal(second.engine.stats().expired, 2)
  await until('both answered', () => second.outgoing.on('k/a/response').length === 2)
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

test('a parked message whose route is gone, or takes its topic no more, is a dead letter that runs once it is back', async () => {
  const store = new KeepingStore()
  const first = bench((router) => router.on('k/{key}', () => new Promise(() => {}), { orderBy: 'key', name: 'k' }), {
    store,
    ackHoldMs: 10,
  })
  await Promise.all([first.send('k/a', { n: 1 }), first.send('k/a', { n: 2 })])
  await first.engine.stop()
  const renamed = bench((router) => router.on('other/{key}', () => 1, { name: 'k' }), { store })
  renamed.engine.resume(store.inner.parked.map(({ payload: _, ...head }) => head))
  await until('they are taken out', () => store.inner.parked.length === 0)
  assert.equal(renamed.engine.stats().parked_now, 0)
  assert.deepEqual(
    store.inner.letters.map(({ topic, error, payload }) => [
      topic,
      error.code,
      Buffer.from(payload, 'base64').toString(),
    ]),
    [
      ['k/a', 'ROUTE_UNKNOWN', '{"n":1}'],
      ['k/a', 'ROUTE_UNKNOWN', '{"n":2}'],
    ],
  )
  await assert.rejects(renamed.engine.run(store.inner.letters[0]!), { code: 'ROUTE_UNKNOWN' })
  const back = bench((router) => router.on('k/{key}', ({ payload }) => payload, { name: 'k' }), { store })
  assert.deepEqual(await back.engine.run(store.inner.letters[0]!), { ok: true, value: { n: 1 } })
  for (const { engine } of [renamed, back]) await engine.stop()
})

test('where the store is away a parked message whose route is gone stays where it is, until the store is back', async () => {
  const store = new KeepingStore()
  await store.inner.park({ ...(await parkedLetter()), key: undefined, attempt: 1 })
  store.fail = (method) => (method === 'fetchParked' ? new Error('database away') : undefined)
  const warned: string[] = []
  const logger = { ...silentLogger, warn: (_: object, text: string) => warned.push(text) }
  const { engine } = bench((router) => router.on('a', () => 1), { store, logger })
  engine.resume(store.inner.parked)
  await until('it is told', () => warned.length === 1)
  assert.equal(store.inner.parked.length, 1)
  assert.equal(store.inner.letters.length, 0)
  store.fail = undefined
  await until('it is tried again', () => store.inner.parked.length === 0)
  assert.deepEqual(
    store.inner.letters.map(({ error }) => error.code),
    ['ROUTE_UNKNOWN'],
  )
  assert.equal(warned.filter((text) => text.includes('route is gone')).length, 1)
  await engine.stop()
})

test('parked messages of a removed route are brought one at a time, each letter under the id it was parked with', async () => {
  const store = new KeepingStore()
  const ids: string[] = []
  for (let n = 0; n < 30; n++) {
    ids.push(await store.inner.park({ ...(await parkedLetter()), key: undefined, attempt: 1 }))
  }
  let fetching = 0
  let most = 0
  const fetchParked = store.fetchParked.bind(store)
  store.fetchParked = async (id) => {
    most = Math.max(most, ++fetching)
    return fetchParked(id).finally(() => fetching--)
  }
  const under: unknown[] = []
  const deadLetter = store.deadLetter.bind(store)
  store.deadLetter = (letter, id?: string) => {
    under.push(id)
    return deadLetter(letter)
  }
  const { engine } = bench((router) => router.on('a', () => 1), { store })
  engine.resume(store.inner.parked)
  await until('all are ended', () => store.inner.parked.length === 0)
  assert.equal(most, 1)
  assert.deepEqual(under, ids)
  assert.equal(store.inner.letters.length, 30)
  await engine.stop()
})

async function parkedLetter() {
  const { toStored } = await import('../../../core/delivery/stored.js')
  const gone = message('gone', 1)
  return toStored('gone', gone, gone.payload, { deadline: undefined, auth: undefined, payloadHash: undefined })
}

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

test('drain waits for what runs; stop acknowledges nothing afterwards', async () => {
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { send, engine, settled } = bench((router) => router.on('a', () => gate))
  void send('a', 1)
  const late = engine.drain(20)
  await late
  assert.deepEqual(settled, [])
  const drained = engine.drain(5_000)
  open()
  await drained
  assert.deepEqual(settled, ['a'])
  let release = () => {}
  const second = bench((router) =>
    router.on(
      'a',
      () =>
        new Promise<void>((resolve) => {
          release = resolve
        }),
    ),
  )
  void second.send('a', 1)
  await second.engine.stop()
  await assert.rejects(second.engine.run(await parkedLetter()), { code: 'SHUTTING_DOWN' })
  release()
  await pause(20)
  assert.deepEqual(second.settled, [])
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

test('drain ends when the last that was held is parked between two attempts', async () => {
  const { engine, send } = bench((router) =>
    router.on(
      'jobs',
      async () => {
        throw new Error('not now')
      },
      { name: 'jobs', attempts: 3, backoff: { first: 60_000, max: 60_000 } },
    ),
  )
  void send('jobs', {})
  const outcome = await Promise.race([engine.drain(60_000).then(() => 'drained'), pause(10_000, 'waited')])
  assert.equal(outcome, 'drained')
  await engine.stop()
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

test('a wall clock that is set back lets no command run past its age, and its writes carry a deadline of that clock', async () => {
  let set = 0
  let passed = 0
  const clock = {
    ...systemClock,
    now: () => Date.now() + set + passed,
    monotonic: () => systemClock.monotonic() + passed,
  }
  let letGo = () => {}
  const first = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const ran: unknown[] = []
  const { send, store, field, engine } = bench(
    (router) =>
      router.on(
        'a',
        async ({ payload, devices }) => {
          ran.push(payload)
          await first
          await devices.request({ op: 'read', device_id: 'd', points: ['p'] } as never)
        },
        { maxAge: 60_000, concurrency: 1, attempts: 1 },
      ),
    { clock },
  )
  const both = [send('a', 1), send('a', 2)]
  await until('the first runs', () => ran.length === 1)
  set = -3_600_000
  passed = 61_000
  letGo()
  await Promise.all(both)
  await until('the end of the second', () => (store as KeepingStore).inner.letters.length === 1)
  assert.deepEqual(ran, [1])
  assert.equal((store as KeepingStore).inner.letters[0]!.error.code, 'COMMAND_EXPIRED')
  const { deadline } = field.requests[0] as { deadline: number }
  assert.ok(deadline <= clock.now(), 'passed on the clock that was set too')
  await engine.stop()
})

test('a retryable failure while nothing can be parked pauses on its lane and is tried again', async () => {
  const store = new KeepingStore()
  let runs = 0
  const { send, engine } = bench(
    (router) =>
      router.on(
        'a',
        () => {
          runs += 1
          if (runs < 3) throw new Error('not yet')
        },
        { attempts: 3, backoff: { first: 5, max: 5, jitter: 0 } },
      ),
    { store, parking: { messages: 0 } },
  )
  await send('a', 1)
  assert.equal(runs, 3)
  assert.deepEqual(store.inner.letters, [])
  assert.equal(engine.stats().retried, 2)
  assert.equal(engine.stats().parked, 0)
})

test('drain waits for the work that was given to terminate', async () => {
  let letGo = () => {}
  const work = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let began = false
  const { send, engine } = bench((router) =>
    router.on('a', (ctx) =>
      ctx.terminate(() => {
        began = true
        return work
      }),
    ),
  )
  await send('a', 1)
  await until('it runs', () => began)
  let drained = false
  const draining = engine.drain(60_000).then(() => {
    drained = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(drained, false)
  letGo()
  await draining
})

test('a person who runs a letter again learns that its route takes no retained messages', async () => {
  const { engine, dispatcher } = bench((router) => router.on('a', () => 1))
  const retained = message('a', 1, { retain: true })
  const { toStored } = await import('../../../core/delivery/stored.js')
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
