import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { bench, closedGate, until } from './harness.js'

test('what a handler returns goes to <topic>/response when a request_id asks for it, and carries the id', async () => {
  const { send, outgoing } = bench((router) => router.on('devices/{id}/write', ({ params }) => ({ device: params.id })))
  await send('devices/a/write', { request_id: 'r1' })
  await send('devices/b/write', {})
  assert.deepEqual(outgoing.on('devices/a/write/response'), [{ request_id: 'r1', device: 'a' }])
  assert.deepEqual(outgoing.on('devices/b/write/response'), [])
})

test('an answer that is no object goes under result', async () => {
  const { send, outgoing } = bench((router) => router.on('a/b', () => [1, 2]))
  await send('a/b', { request_id: 7 })
  assert.deepEqual(outgoing.on('a/b/response'), [{ request_id: 7, result: [1, 2] }])
})

test('the MQTT 5 response topic wins, with its correlation data', async () => {
  const { send, outgoing } = bench((router) => router.on('a/b', () => ({ ok: true }), { reply: true }))
  const correlationData = Buffer.from([0, 1, 255])
  await send('a/b', {}, { properties: { responseTopic: 'x/y/z/response', correlationData } })
  assert.deepEqual(outgoing.on('x/y/z/response'), [{ ok: true }])
  assert.deepEqual(outgoing.sent[0]!.options?.properties?.correlationData, correlationData)
  assert.equal(outgoing.sent.length, 1)
})

test('a response topic that is refused is counted, and the answer falls back', async () => {
  const { send, outgoing, engine } = bench((router) => {
    router.on('a/b', () => ({ ok: true }))
    router.on('x/{y}/z/response', () => undefined)
  })
  for (const responseTopic of ['somewhere/else', 'x/y/z/response', 'a/+/b/response', '$SYS/a/b/response']) {
    await send('a/b', {}, { properties: { responseTopic } })
    await send('a/b', { request_id: 1 }, { properties: { responseTopic } })
  }
  assert.deepEqual(new Set(outgoing.sent.map(({ topic }) => topic)), new Set(['a/b/response']))
  assert.equal(outgoing.sent.length, 4)
  assert.equal(engine.stats().reply_refused, 8)
})

test('topics that end in /response and everything under routemq/ get no reply and no dead letter', async () => {
  const { send, outgoing, store, engine } = bench((router) =>
    router.on('#', () => {
      throw new RouteMQError('DEVICE_UNKNOWN', 'no')
    }),
  )
  await send('a/b/response', { request_id: 1 }, { properties: { responseTopic: 'x/y/z/response' } })
  await send('routemq/dead/x', { request_id: 1 })
  assert.deepEqual(outgoing.sent, [])
  assert.deepEqual((store as never as { inner: { letters: unknown[] } }).inner.letters, [])
  assert.equal(engine.stats().failed, 2)
})

test('an error is an answer with code, message, details and the request_id', async () => {
  const { send, outgoing } = bench((router) =>
    router.on('a/b', () => {
      throw new RouteMQError('VALUE_OUT_OF_RANGE', '7 is above 5', { details: { max: 5 } })
    }),
  )
  await send('a/b', { request_id: 'r' })
  assert.deepEqual(outgoing.on('a/b/response'), [
    { request_id: 'r', error: { code: 'VALUE_OUT_OF_RANGE', message: '7 is above 5', details: { max: 5 } } },
  ])
})

test('broken JSON is answered where a reply is asked for without the payload', async () => {
  const { send, outgoing } = bench((router) => {
    router.on('a/b', () => 1, { reply: true })
    router.on('a/c', () => 1)
  })
  const broken = Buffer.from('{"request_id": "x"')
  await send('a/b', broken)
  await send('a/c', broken)
  await send('a/c', broken, { properties: { responseTopic: 'x/y/z/response' } })
  const codes = outgoing.sent
    .filter(({ topic }) => topic.endsWith('/response'))
    .map(({ topic, payload }) => [topic, JSON.parse(payload.toString()).error.code])
  assert.deepEqual(codes, [
    ['a/b/response', 'PAYLOAD_MALFORMED'],
    ['x/y/z/response', 'PAYLOAD_MALFORMED'],
  ])
})

test('an invalid payload names every field and is not tried again', async () => {
  let runs = 0
  const { send, outgoing, engine } = bench((router) =>
    router.on('a/b', () => (runs += 1), { payload: z.strictObject({ n: z.number(), s: z.string() }), reply: true }),
  )
  await send('a/b', { n: 'x', s: 1 })
  const [answer] = outgoing.on('a/b/response') as { error: { code: string; details: { fields: { path: string }[] } } }[]
  assert.equal(answer!.error.code, 'PAYLOAD_INVALID')
  assert.deepEqual(
    answer!.error.details.fields.map(({ path }) => path),
    ['n', 's'],
  )
  assert.equal(runs, 0)
  assert.equal(engine.stats().retried, 0)
})

test('of several routes the most specific that returns something replies, whichever ends first', async () => {
  const { send, outgoing } = bench((router) => {
    router.on('a/#', () => ({ from: 'widest' }))
    router.on('a/{x}', async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return { from: 'parameter' }
    })
    router.on('a/b', async () => {
      await new Promise((resolve) => setTimeout(resolve, 5))
    })
  })
  await send('a/b', { request_id: 1 })
  assert.deepEqual(outgoing.on('a/b/response'), [{ request_id: 1, from: 'parameter' }])
})

test('ctx.reply() answers before the handler ends; a second answer is an error', async () => {
  const seen: unknown[] = []
  const { send, outgoing } = bench((router) =>
    router.on('a/b', async ({ reply }) => {
      await reply({ n: 1 })
      seen.push(outgoing.sent.length)
      await reply({ n: 2 }).catch((error: unknown) => seen.push((error as RouteMQError).message))
      return { n: 3 }
    }),
  )
  await send('a/b', { request_id: 1 })
  assert.deepEqual(outgoing.on('a/b/response'), [{ request_id: 1, n: 1 }])
  assert.equal(seen[0], 1)
  assert.match(String(seen[1]), /twice/)
})

test('a message is settled after its reply was handed over', async () => {
  const { send, outgoing, settled } = bench((router) => router.on('a/b', () => ({ ok: true })))
  const gate = closedGate()
  outgoing.gate = gate.opened
  const done = send('a/b', { request_id: 1 })
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.deepEqual(settled, [])
  gate.open()
  await done
  assert.equal(outgoing.sent.length, 1)
})

test('a raw or text answer goes out as it is', async () => {
  const { send, outgoing } = bench((router) => {
    router.on('a/raw', () => Buffer.from([1, 2]), { codec: 'raw', reply: true })
    router.on('a/text', () => 'yes', { codec: 'text', reply: true })
  })
  await send('a/raw', Buffer.from('x'))
  await send('a/text', Buffer.from('x'))
  assert.deepEqual(
    outgoing.sent.map(({ payload }) => [...payload]),
    [[1, 2], [...Buffer.from('yes')]],
  )
})

test('what cannot be encoded is a failure of the handler, not of the process', async () => {
  const { send, outgoing } = bench((router) =>
    router.on('a/b', () => {
      const loop: Record<string, unknown> = {}
      loop.self = loop
      return loop
    }),
  )
  await send('a/b', { request_id: 1 })
  const [answer] = outgoing.on('a/b/response') as { error: { code: string } }[]
  assert.equal(answer!.error.code, 'HANDLER_FAILED')
})

test('whoever asked for what is too large to send is told so', async () => {
  const { send, outgoing, engine } = bench((router) => router.on('a/b', () => ({ text: 'x'.repeat(2_000) })))
  outgoing.tooLarge = 1_000
  await send('a/b', { request_id: 'r' })
  const [answer] = outgoing.on('a/b/response') as { request_id: string; error: { code: string } }[]
  assert.deepEqual([answer!.request_id, answer!.error.code], ['r', 'PAYLOAD_TOO_LARGE'])
  assert.equal(engine.stats().replied, 1)
  assert.equal(engine.stats().reply_failed, 0)
})

test('an error whose details are too large to send is sent without them', async () => {
  const { send, outgoing, engine } = bench((router) =>
    router.on('a/b', () => {
      throw new RouteMQError('WRITE_PARTIAL', 'one of many', { details: { results: 'x'.repeat(2_000) } })
    }),
  )
  outgoing.tooLarge = 1_000
  await send('a/b', { request_id: 'r' })
  assert.deepEqual(outgoing.on('a/b/response'), [
    { request_id: 'r', error: { code: 'WRITE_PARTIAL', message: 'one of many' } },
  ])
  assert.equal(engine.stats().reply_failed, 0)
})

test('refused response topics are logged now and then, however many there are', async () => {
  const warnings: object[] = []
  const logger = { ...silentLogger, warn: (facts: object) => void warnings.push(facts) }
  const { send, engine } = bench((router) => router.on('a/b', () => 1), { logger })
  for (let n = 0; n < 50; n++) await send('a/b', {}, { properties: { responseTopic: `no/${n}` } })
  assert.equal(warnings.length, 1)
  assert.equal(engine.stats().reply_refused, 50)
})

test('a handler that answered and then fails may be tried again: its first answer stands, and it ends well', async () => {
  let runs = 0
  const { outgoing, send, engine } = bench((router) =>
    router.on(
      'jobs/{name}',
      async (ctx) => {
        runs += 1
        await ctx.reply({ run: runs })
        if (runs === 1) throw new Error('the disk is away for a moment')
      },
      { name: 'jobs', attempts: 3, backoff: { first: 1, max: 1 } },
    ),
  )
  await send('jobs/a', { request_id: 1 })
  await until('it has ended', () => engine.stats().handled === 1 || engine.stats().failed === 1)
  assert.equal(engine.stats().handled, 1)
  assert.equal(runs, 2)
  assert.deepEqual(outgoing.on('jobs/a/response'), [{ run: 1, request_id: 1 }])
  await engine.stop()
})
