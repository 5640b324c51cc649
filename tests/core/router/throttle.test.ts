import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import type { Middleware } from '../../../core/router/context.js'
import { memoryLimiter } from '../../../core/router/middleware/limiter.js'
import { takeInRedis } from '../../../core/router/middleware/redis-script.js'
import { throttle } from '../../../core/router/middleware/throttle.js'
import type { RouteMQError } from '../../../core/support/errors.js'
import { manualClock, message, run, type Written } from './kit.js'

test('throttle: over the limit is THROTTLED with the seconds to wait, and the window opens again', async () => {
  const { clock, pass } = manualClock()
  const limit = throttle({ clock })('2', '60')
  const { ctx } = message()
  assert.equal(await run(limit, ctx), 'done')
  pass(20_500)
  assert.equal(await run(limit, ctx), 'done')
  await assert.rejects(run(limit, ctx), { code: 'THROTTLED', details: { retry_after: 40, by: 'topic' } })
  assert.equal(await run(limit, message({ topic: 'another' }).ctx), 'done')
  pass(39_500)
  assert.equal(await run(limit, ctx), 'done')
})

test('throttle: counts by topic, route, parameter or sender', async () => {
  const { clock } = manualClock()
  const refused = async (by: string, one: Written, other: Written) => {
    const limit = throttle({ clock })('1', '60', by)
    await run(limit, message(one).ctx)
    return run(limit, message(other).ctx).then(
      () => false,
      () => true,
    )
  }
  assert.equal(await refused('topic', { topic: 'a' }, { topic: 'b' }), false)
  assert.equal(await refused('route', { topic: 'a' }, { topic: 'b' }), true)
  assert.equal(await refused('device_id', { params: { device_id: '1' } }, { params: { device_id: '2' } }), false)
  assert.equal(await refused('device_id', { params: { device_id: '1' } }, { params: { device_id: '1' } }), true)
  assert.equal(await refused('client', { state: { auth: { name: 'a' } } }, { state: { auth: { name: 'b' } } }), false)
  assert.equal(await refused('client', {}, {}), true)
})

test('throttle: arguments that make no sense are refused at the start', () => {
  for (const args of [['0'], ['x'], ['2.5'], ['1', '-1'], ['1', '0.0001'], ['1', '1', 'topic', 'leaky']]) {
    assert.throws(() => throttle()(...args), { code: 'ROUTER_INVALID' }, args.join())
  }
  assert.throws(() => throttle({ max: Number.NaN })(), { code: 'ROUTER_INVALID' })
  assert.throws(() => throttle({ redis: {} })('1', '0.5'), {
    code: 'ROUTER_INVALID',
    message: /whole seconds in Redis/,
  })
})

test('no strategy lets more through than it says, and what it says to wait suffices (fast-check)', () => {
  for (const strategy of ['fixed', 'sliding', 'token'] as const) {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 7 }),
        // A monotonic clock has fractions of a millisecond.
        fc.double({ min: 0, max: 1_000, noNaN: true }),
        fc.array(fc.nat(400), { minLength: 1, maxLength: 80 }),
        (max, start, steps) => {
          let now = start
          const limiter = memoryLimiter(strategy, { max, windowMs: 1_000, maxKeys: 10, now: () => now })
          const passed: number[] = []
          for (const step of steps) {
            now += step
            const wait = limiter.take('k') as number
            if (wait === 0) passed.push(now)
            else {
              assert.ok(Number.isInteger(wait) && wait > 0 && wait <= 2_000, `${strategy} waits ${wait}`)
              now += wait
              assert.equal(limiter.take('k'), 0, `${strategy}: ${wait} ms were not enough`)
              passed.push(now)
            }
          }
          // Two windows side by side may both be full; a bucket starts full and refills by `max` a window.
          for (const from of passed) {
            const inWindow = passed.filter((at) => at >= from && at < from + 1_000).length
            assert.ok(inWindow <= 2 * max, `${strategy}: ${inWindow} in one window of ${max}`)
          }
        },
      ),
      {
        numRuns: 1_000,
        // Thirds of a second do not add up in binary fractions: a token was not there when it was promised.
        examples: [[3, 0, [0, 315, 0, 0, 0, 145]]],
      },
    )
  }
})

test('a bucket that was emptied refills evenly: one message for each share of the window', () => {
  let now = 0
  const limiter = memoryLimiter('token', { max: 4, windowMs: 1_000, maxKeys: 1, now: () => now })
  const passed: number[] = []
  for (; now <= 1_000; now += 10) if (limiter.take('k') === 0) passed.push(now)
  assert.deepEqual(passed, [0, 10, 20, 30, 250, 500, 750, 1_000])
})

test('sliding windows do not let twice the limit through around a boundary, fixed ones do', () => {
  const burst = (strategy: 'fixed' | 'sliding') => {
    let now = 0
    const limiter = memoryLimiter(strategy, { max: 100, windowMs: 1_000, maxKeys: 10, now: () => now })
    limiter.take('k')
    now = 990
    let passed = 0
    for (let n = 0; n < 200; n += 1) passed += limiter.take('k') === 0 ? 1 : 0
    now = 1_010
    for (let n = 0; n < 200; n += 1) passed += limiter.take('k') === 0 ? 1 : 0
    return passed
  }
  assert.equal(burst('fixed'), 199)
  assert.ok(burst('sliding') <= 101, `${burst('sliding')} passed`)
})

test('a million keys leave no more than the bound behind', () => {
  const limiter = memoryLimiter('fixed', { max: 1, windowMs: 60_000, maxKeys: 1_000, now: () => 0 })
  for (let key = 0; key < 1_000_000; key += 1) limiter.take(String(key))
  assert.ok((limiter.take('999999') as number) > 0, 'the newest is remembered')
  assert.equal(limiter.take('0'), 0, 'the oldest is forgotten')
})

async function redis(t: TestContext): Promise<Redis | undefined> {
  const probe = connect(6379, '127.0.0.1')
  const there = await once(probe, 'connect', { signal: AbortSignal.timeout(2_000) }).then(
    () => true,
    () => false,
  )
  probe.destroy()
  if (there) {
    const client = new Redis({ host: '127.0.0.1', port: 6379, maxRetriesPerRequest: 1 })
    t.after(() => client.disconnect())
    await once(client, 'ready')
    return client
  }
  const reason = 'no Redis at 127.0.0.1:6379'
  assert.notEqual(process.env.ROUTEMQ_TEST_SERVICES, 'required', reason)
  console.log(`SKIPPED: ${t.name}: ${reason}`)
  t.skip(reason)
  return undefined
}

/** The calls of node-redis, carried out by ioredis. */
function asNodeRedis(client: Redis) {
  interface Values {
    readonly keys: string[]
    readonly arguments: string[]
  }
  return {
    isReady: true,
    eval: (script: string, { keys, arguments: args }: Values) => client.eval(script, keys.length, ...keys, ...args),
    evalSha: (sha: string, { keys, arguments: args }: Values) => client.evalsha(sha, keys.length, ...keys, ...args),
  }
}

for (const strategy of ['fixed', 'sliding', 'token'] as const) {
  test(`throttle: in Redis two workers share one limit, and it opens again (${strategy})`, async (t) => {
    const client = await redis(t)
    if (client === undefined) return
    const topic = `t/${randomBytes(6).toString('hex')}`
    const worker = (redis: unknown) => throttle({ redis, strategy })('3', '60')
    const [one, other] = [worker(client), worker(asNodeRedis(client))]
    const take = (limit: Middleware) => {
      const { ctx, lines } = message({ topic })
      const outcome = run(limit, ctx).catch((error: RouteMQError) => error.details)
      return outcome.then((value) => (lines.length === 0 ? value : lines))
    }
    const outcomes: unknown[] = []
    for (const limit of [one, other, one, other, one]) outcomes.push(await take(limit))
    assert.deepEqual(outcomes.slice(0, 3), ['done', 'done', 'done'])
    for (const refused of outcomes.slice(3)) {
      const { retry_after, by } = refused as { retry_after: number; by: string }
      assert.equal(by, 'topic')
      // A whole window, until a third of the full window has slid out of the next, and until one token is back.
      const [least, most] = { fixed: [1, 60], sliding: [61, 80], token: [1, 20] }[strategy]
      assert.ok(retry_after >= least! && retry_after <= most!, `${retry_after} s`)
    }
    const key = `routemq:throttle:${strategy}:3/60000:topic:${topic}`
    assert.ok((await client.pttl(key)) > 0, 'nothing stays behind for ever')
    assert.equal(await client.del(key), 1)
    assert.equal(await take(one), 'done', 'the key held all there was')
    await client.del(key)
  })
}

test('throttle: what Redis says to wait suffices', async (t) => {
  const client = await redis(t)
  if (client === undefined) return
  const prefix = `routemq-test-${randomBytes(6).toString('hex')}`
  for (const strategy of ['sliding', 'token'] as const) {
    const take = takeInRedis(strategy, { client, prefix, max: 3, windowMs: 300 })
    for (let refused = 0; refused < 5; ) {
      const wait = await take(strategy)
      if (wait === 0) continue
      refused += 1
      assert.ok(wait > 0 && wait <= 600, `${wait}`)
      await sleep(wait + 2) // A timer may fire a millisecond early, and Redis cuts its clock to milliseconds.
      const again = await take(strategy)
      assert.equal(again, 0, `${strategy}: ${wait} ms were not enough by ${again} ms`)
    }
    await client.del(`${prefix}:${strategy}`)
  }
})

test('throttle: Redis decides as the memory of a process does', async (t) => {
  const client = await redis(t)
  if (client === undefined) return
  const prefix = `routemq-test-${randomBytes(6).toString('hex')}`
  const DAY = 86_400_000
  for (const strategy of ['sliding', 'token'] as const) {
    const key = `${prefix}:${strategy}`
    let now = 0
    const memory = memoryLimiter(strategy, { max: 5, windowMs: DAY, maxKeys: 1, now: () => now })
    const take = takeInRedis(strategy, { client, prefix, max: 5, windowMs: DAY })
    const outcomes = { passed: 0, refused: 0 }
    for (let n = 0; n < 200; n += 1) {
      // From none to four hours, and now and then several days. Time passes in Redis by making what it holds older.
      const step = (n % 40 === 39 ? 3 * DAY : 0) + ((n * 7_919) % 101) * 131_000
      now += step
      if (n > 0) await client.hincrby(key, strategy === 'sliding' ? 'start' : 'at', -step)
      const [here, there] = [memory.take(strategy) as number, await take(strategy)]
      assert.equal(there === 0, here === 0, `${strategy}, message ${n}: ${there} in Redis, ${here} here`)
      assert.ok(Math.abs(there - here) < 60_000, `${strategy}, message ${n}: ${there} in Redis, ${here} here`)
      outcomes[here === 0 ? 'passed' : 'refused'] += 1
    }
    assert.ok(outcomes.passed > 50 && outcomes.refused > 50, JSON.stringify(outcomes))
    await client.del(key)
  }
})

test('throttle: a Redis that lost its scripts is given them again', async (t) => {
  const client = await redis(t)
  if (client === undefined) return
  const calls: string[] = []
  const forgetful = {
    ...asNodeRedis(client),
    evalSha: async () => {
      calls.push('evalSha')
      throw new Error('NOSCRIPT No matching script. Please use EVAL.')
    },
  }
  const prefix = `routemq-test-${randomBytes(6).toString('hex')}`
  const take = takeInRedis('token', { client: forgetful, prefix, max: 1, windowMs: 60_000 })
  assert.equal(await take('k'), 0)
  assert.ok((await take('k')) > 0)
  assert.deepEqual(calls, ['evalSha', 'evalSha'])
  await client.del(`${prefix}:k`)
})

test('throttle: while Redis is away the process counts for itself and says so once', async (t) => {
  const client = new Redis({ host: '127.0.0.1', port: 1, lazyConnect: true, retryStrategy: () => null })
  client.on('error', () => {})
  t.after(() => client.disconnect())
  const limit = throttle({ redis: client })('1', '60')
  const { ctx, lines } = message()
  assert.equal(await run(limit, ctx), 'done')
  await assert.rejects(run(limit, ctx), { code: 'THROTTLED' })
  assert.deepEqual(
    lines.map(({ level, sentence }) => [level, sentence]),
    [['warn', 'throttle counts in this process while Redis is away']],
  )
})
