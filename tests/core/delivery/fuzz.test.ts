import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import type { MessageProperties } from '../../../core/mqtt/message.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { bench, message } from './harness.js'

const level = fc.oneof(
  fc.constantFrom('a', 'b', '', '__proto__', 'constructor', 'response', 'routemq', '$SYS', 'toString', ' '),
  fc.string({ maxLength: 12 }).map((text) => text.replace(/[+#/\0]/g, '_')),
)
const topic = fc.array(level, { minLength: 1, maxLength: 6 }).map((levels) => levels.join('/'))

const proto = fc.constantFrom(
  '{"__proto__":{"request_id":"x","expires_at":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{"request_id":{"__proto__":[]}}',
  '{"request_id":"x","__proto__":{"polluted":1}}',
  `${'['.repeat(20_000)}`,
  `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
  `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
  '{"timestamp":1e400,"expires_at":"-0"}',
  '"\\ud800"',
  'null',
)
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
  fc.json({ maxDepth: 8 }).map((text) => Buffer.from(text)),
  proto.map((text) => Buffer.from(text)),
)

const properties = fc.record(
  {
    responseTopic: fc.oneof(topic, fc.constantFrom('x/y/z/response', 'x/+/z/response', '', '#', 'routemq/reply/me')),
    correlationData: fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    contentType: fc.constantFrom('application/json', 'application/cbor', 'application/msgpack', 'text/plain', 'x', ''),
    messageExpiryInterval: fc.nat(4_294_967_295),
    userProperties: fc.constant({ a: ['b', 'c'] }),
  },
  { requiredKeys: [] },
)

test('random topics, bytes and properties: nothing crashes, each message settles exactly once', async () => {
  let runs = 0
  const { lane, engine } = bench((router) => {
    router.on('#', () => void runs++, { retained: true })
    router.on('{a}/{b}', ({ payload }) => payload, { reply: true })
    router.on('{a}/{b:int}', ({ params }) => params, { idempotent: true })
    router.on(
      'a/{rest*}',
      ({ state, payload }) => {
        state[String((payload as { key?: unknown })?.key)] = payload
        if (runs % 3 === 0) throw new RouteMQError('VALUE_INVALID', 'no')
        if (runs % 3 === 1) throw payload
        return payload
      },
      { attempts: 1 },
    )
    router.on('b/#', ({ payload }) => ({ payload }), { payload: z.strictObject({ n: z.number() }) })
    router.on('{k}/ordered', () => 1, { orderBy: 'k', maxAge: '30s' })
  })
  let messages = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(topic, bytes, properties, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 20 }),
      async (batch) => {
        const settled = new Array<number>(batch.length).fill(0)
        await Promise.all(
          batch.map(
            ([to, payload, props, retain, fresh], index) =>
              new Promise<void>((resolve) => {
                lane(message(to, payload, { properties: props as unknown as MessageProperties, retain, fresh }), () => {
                  settled[index]! += 1
                  resolve()
                })
              }),
          ),
        )
        messages += batch.length
        assert.deepEqual(
          settled,
          settled.map(() => 1),
        )
      },
    ),
    { numRuns: 150 },
  )
  assert.equal(({} as Record<string, unknown>).polluted, undefined)
  assert.equal(engine.stats().in_flight, 0)
  assert.ok(messages > 500)
})

test('a million distinct topics leave nothing behind', async () => {
  const { lane, engine } = bench((router) => router.on('t/{id}', () => undefined, { orderBy: 'id' }))
  const subject = message('t/x', {})
  let settled = 0
  const settle = () => {
    settled += 1
  }
  const push = async (count: number, from: number) => {
    for (let n = from; n < from + count; n++) {
      lane({ ...subject, topic: `t/${n}` }, settle)
      if (n % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  await push(200_000, 0)
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  await push(800_000, 200_000)
  globalThis.gc?.()
  const growth = (process.memoryUsage().heapUsed - before) / 1_048_576
  assert.equal(settled, 1_000_000)
  assert.equal(engine.stats().in_flight, 0)
  // Without --expose-gc this is a coarse guard: 800,000 kept topics would be well over 100 MB.
  assert.ok(growth < 100, `${growth.toFixed(1)} MB more`)
})
