import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { decode as decodeCbor, encode as encodeCbor } from 'cbor-x'
import fc from 'fast-check'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { pack, unpack } from 'msgpackr'
import { z } from 'zod'
import type { Middleware } from '../../../core/router/context.js'
import { apiKeyAuth } from '../../../core/router/middleware/api-key-auth.js'
import { identityOf } from '../../../core/router/middleware/identity.js'
import { withoutMember } from '../../../core/router/middleware/json-member.js'
import { jwtAuth } from '../../../core/router/middleware/jwt-auth.js'
import { logMessages } from '../../../core/router/middleware/log.js'
import { idempotent, timeout, validate } from '../../../core/router/middleware/marks.js'
import { topicRules } from '../../../core/router/middleware/topic-rules.js'
import { Router } from '../../../core/router/router.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { manualClock, message, run } from './kit.js'

test('auth: a known key passes, is taken out of payload and raw, and names its holder', async () => {
  const { ctx } = message({
    payload: { api_key: 'k2', value: 1 },
    raw: Buffer.from('{ "api_key" : "k2", "value": 1.0 }'),
  })
  assert.equal(await run(apiKeyAuth({ keys: { 'line-a': 'k1', 'line-b': 'k2' } })(), ctx), 'done')
  assert.deepEqual(ctx.payload, { value: 1 })
  assert.equal(ctx.raw.toString(), '{"value": 1.0}')
  assert.deepEqual(identityOf(ctx), { name: 'line-b', proofs: ['api_key api_key line-a line-b'] })
})

test('auth: no key, an unknown key and one that is no text are UNAUTHENTICATED, and leave nothing of it either', async () => {
  const auth = apiKeyAuth({ keys: ['k1'] })()
  for (const payload of [
    { value: 1 },
    { api_key: 'wrong' },
    { api_key: 12 },
    { api_key: '' },
    { api_key: ['k1'] },
    'k1',
    null,
  ]) {
    const { ctx } = message({ payload })
    await assert.rejects(run(auth, ctx), { code: 'UNAUTHENTICATED' })
    assert.doesNotMatch(ctx.raw.toString(), /api_key|wrong/)
  }
})

test('auth: the user property works too, is removed, and further routes of the message still see it', async () => {
  const userProperties = { api_key: 'k1', other: 'stays' }
  const [first, second] = [message({ payload: {}, userProperties }), message({ payload: {}, userProperties })]
  const auth = apiKeyAuth({ keys: ['k1'] })()
  await run(auth, first.ctx)
  assert.deepEqual(userProperties, { other: 'stays' })
  assert.equal(await run(auth, second.ctx), 'done')
})

test('auth: a message that is tried again has lost its key and passes by what it proved', async () => {
  const auth = apiKeyAuth({ keys: ['k1'] })()
  const first = message({ payload: { api_key: 'k1' } })
  await run(auth, first.ctx)
  const stored = JSON.parse(JSON.stringify(first.ctx.state.auth))
  assert.equal(await run(auth, message({ payload: {}, state: { auth: stored } }).ctx), 'done')
})

test('auth: what another check proved does not pass this one, so a route may ask for both', async () => {
  const both = [apiKeyAuth({ keys: ['k1'] })(), jwtAuth({ secret: SECRET })()] as const
  const pass = async (payload: object) => {
    const { ctx } = message({ payload })
    for (const check of both) await run(check, ctx)
    return identityOf(ctx)?.name
  }
  assert.equal(await pass({ api_key: 'k1', token: await token({}) }), 'line-a')
  await assert.rejects(pass({ api_key: 'k1' }), { code: 'UNAUTHENTICATED' })
  await assert.rejects(pass({ token: await token({}) }), { code: 'UNAUTHENTICATED' })
  const elsewhere = message({ payload: {}, state: { auth: { name: 'x', proofs: ['something else'] } } })
  await assert.rejects(run(both[0], elsewhere.ctx), { code: 'UNAUTHENTICATED' })
})

test('auth: without keys everyone passes, the key is removed all the same, and the log says so once', async () => {
  const auth = apiKeyAuth({ keys: [] })()
  const { ctx, lines } = message({ payload: { api_key: 'x', value: 1 } })
  await run(auth, ctx)
  await run(auth, ctx)
  assert.deepEqual(ctx.payload, { value: 1 })
  assert.deepEqual(
    lines.map(({ level, sentence }) => [level, /lets everyone in/.test(sentence)]),
    [['warn', true]],
  )
})

test('auth: keys come from the configuration where the application runs', async () => {
  const auth = apiKeyAuth().withServices!({ config: { app: { apiKeys: ['from-config'] } } })
  assert.equal(await run(auth, message({ payload: { api_key: 'from-config' } }).ctx), 'done')
  await assert.rejects(run(auth, message({ payload: { api_key: 'other' } }).ctx), { code: 'UNAUTHENTICATED' })
})

test('auth: MessagePack and CBOR payloads lose the key in their own format', async () => {
  const payload = { api_key: 'k1', value: 1 }
  const auth = apiKeyAuth({ keys: ['k1'] })()
  const packed = message({ payload, raw: pack(payload), contentType: 'application/msgpack' })
  await run(auth, packed.ctx)
  assert.deepEqual(unpack(packed.ctx.raw), { value: 1 })
  const cbor = message({ payload, raw: encodeCbor(payload), contentType: 'application/cbor' })
  await run(auth, cbor.ctx)
  assert.deepEqual(decodeCbor(cbor.ctx.raw), { value: 1 })
})

test('auth stands outside of what was written before it', async () => {
  const seen: unknown[] = []
  const router = new Router()
  router.on('a', () => {}, { middleware: ['spy', 'auth'] })
  const spy = (): Middleware => (ctx, next) => {
    seen.push(ctx.payload)
    return next()
  }
  const [route] = router.commit({ middleware: { spy, auth: apiKeyAuth({ keys: ['k'] }) } }).routes
  await route!.run(message({ payload: { api_key: 'k', n: 1 } }).ctx)
  assert.deepEqual(seen, [{ n: 1 }])
  assert.deepEqual(route!.middleware, ['auth', 'spy'])
})

test('a member is cut out of JSON text, every other byte as it was', () => {
  const cases: [string, string | undefined][] = [
    ['{"k":1}', '{}'],
    ['{"a":9007199254740993,"k":"x","b":1.0}', '{"a":9007199254740993,"b":1.0}'],
    [' { "k" : {"k":[1,"}"]} , "b" : "k" } ', '{"b" : "k"}'],
    ['{"a":{"k":1},"k":2}', '{"a":{"k":1}}'],
    ['{"\\u006b":1,"k":2,"b":3}', '{"b":3}'],
    ['{"a":"\\"k\\":1,","k":1}', '{"a":"\\"k\\":1,"}'],
    ['{"a":1}', undefined],
    ['[{"k":1}]', undefined],
    ['"k"', undefined],
  ]
  for (const [text, expected] of cases) assert.equal(withoutMember(text, 'k'), expected, text)
})

test('cutting a member equals parsing, deleting and writing again (fast-check)', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom('k', 'a', 'é"', '\\'), fc.jsonValue()),
      fc.constantFrom(undefined, 2),
      (value, space) => {
        const text = JSON.stringify(value, undefined, space)
        const { k: _, ...rest } = value
        const cut = withoutMember(text, 'k')
        assert.deepEqual(
          cut === undefined ? undefined : JSON.parse(cut),
          'k' in value ? JSON.parse(JSON.stringify(rest)) : undefined,
        )
      },
    ),
  )
})

const SECRET = 'a secret of at least thirty-two bytes'
const token = (claims: Record<string, unknown>, secret = SECRET) =>
  new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setSubject('line-a').sign(new TextEncoder().encode(secret))

test('jwt: a valid token passes, is taken out, and says who sends and where', async () => {
  const jwt = jwtAuth({ secret: SECRET, audience: 'plant' })()
  const { ctx } = message({ payload: { token: await token({ aud: 'plant', topics: ['devices/1/#'] }), value: 1 } })
  assert.equal(await run(jwt, ctx), 'done')
  assert.deepEqual(ctx.payload, { value: 1 })
  assert.deepEqual(identityOf(ctx), { name: 'line-a', topics: ['devices/1/#'], proofs: ['jwt token  plant '] })
  const userProperties = { authorization: `Bearer ${await token({ aud: 'plant' })}` }
  assert.equal(await run(jwt, message({ payload: {}, userProperties }).ctx), 'done')
})

test('jwt: forged, expired, misdirected, unsigned and missing tokens are UNAUTHENTICATED', async () => {
  const jwt = jwtAuth({ secret: SECRET, audience: 'plant' })()
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"x","aud":"plant"}').toString('base64url')}.`
  const bad = [
    await token({ aud: 'plant' }, 'another secret of thirty-two bytes!!'),
    await token({ aud: 'plant', exp: 1 }),
    await token({ aud: 'elsewhere' }),
    await token({ aud: 'plant', topics: 'devices/#' }),
    unsigned,
    'nonsense',
    undefined,
  ]
  for (const text of bad) {
    await assert.rejects(run(jwt, message({ payload: { token: text } }).ctx), { code: 'UNAUTHENTICATED' })
  }
})

test('jwt: a public key and keys of an issuer work; an issuer that is away is no verdict on the token', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const signed = await new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid: 'one' }).setSubject('x').sign(privateKey)
  const byKey = jwtAuth({ publicKey: await exportSPKI(publicKey), algorithms: ['ES256'] })()
  assert.equal(await run(byKey, message({ payload: { token: signed } }).ctx), 'done')

  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] }
  const issuer = createServer((_, response) => response.end(JSON.stringify(keys))).listen(0, '127.0.0.1')
  await once(issuer, 'listening')
  t.after(() => issuer.close())
  const { port } = issuer.address() as { port: number }
  const byIssuer = jwtAuth({ jwksUrl: `http://127.0.0.1:${port}/keys`, algorithms: ['ES256'] })()
  assert.equal(await run(byIssuer, message({ payload: { token: signed } }).ctx), 'done')

  const away = jwtAuth({ jwksUrl: 'http://127.0.0.1:1/keys', algorithms: ['ES256'] })()
  await assert.rejects(
    run(away, message({ payload: { token: signed } }).ctx),
    (error: unknown) => !(error instanceof RouteMQError),
  )
})

test('jwt: options that would not protect are refused at the start', () => {
  assert.throws(() => jwtAuth({}), { code: 'ROUTER_INVALID', message: /exactly one/ })
  assert.throws(() => jwtAuth({ secret: 'short' }), { message: /32 bytes/ })
  assert.throws(() => jwtAuth({ jwksUrl: 'http://x', publicKey: 'y' }), { message: /exactly one/ })
  assert.throws(() => jwtAuth({ jwksUrl: 'http://x' }), { message: /algorithms/ })
})

test('topic rules: a sender reaches what its name, everyone and its token allow, nothing else', async () => {
  const rules = topicRules({ '*': ['devices/{name}/#'], boss: ['#'] })()
  const may = (topic: string, auth: object | undefined) =>
    run(rules, message({ topic, state: auth === undefined ? {} : { auth } }).ctx).then(
      () => 'yes',
      (error: RouteMQError) => error.code,
    )
  assert.equal(await may('devices/line-a/write', { name: 'line-a' }), 'yes')
  assert.equal(await may('devices/line-b/write', { name: 'line-a' }), 'FORBIDDEN')
  assert.equal(await may('devices/line-b/write', { name: 'line-a', topics: ['devices/+/write'] }), 'yes')
  assert.equal(await may('anything/at/all', { name: 'boss' }), 'yes')
  assert.equal(await may('devices/x/write', { name: '+' }), 'FORBIDDEN')
  assert.equal(await may('devices/x/write', { name: 'constructor' }), 'FORBIDDEN')
  assert.equal(await may('devices/line-a/write', undefined), 'UNAUTHENTICATED')
})

test('log: one line a message with outcome, time and size, never the payload', async () => {
  const { clock, pass } = manualClock()
  const log = logMessages({ clock })()
  const { ctx, lines } = message({ payload: { api_key: 'secret' } })
  await log(ctx, async () => pass(12.5))
  await assert.rejects(
    Promise.resolve(log(ctx, () => Promise.reject(new RouteMQError('DEVICE_UNKNOWN', 'no such device')))),
    { code: 'DEVICE_UNKNOWN' },
  )
  const facts = { duration_ms: 12.5, qos: 1, bytes: 20, attempt: 1 }
  assert.deepEqual(lines, [
    { level: 'debug', facts, sentence: 'handled' },
    {
      level: 'debug',
      facts: { ...facts, duration_ms: 0, code: 'DEVICE_UNKNOWN', reason: 'no such device' },
      sentence: 'failed',
    },
  ])
})

test('log: at most so many lines a second and route, and what was left out is counted', async () => {
  const { clock, pass } = manualClock()
  const log = logMessages({ clock })('info', '3')
  const { ctx, lines } = message()
  for (let n = 0; n < 10; n += 1) await run(log, ctx)
  pass(1_000)
  await run(log, ctx)
  assert.equal(lines.length, 4)
  assert.deepEqual(
    lines.map(({ level, facts }) => [level, facts.skipped]),
    [
      ['info', undefined],
      ['info', undefined],
      ['info', undefined],
      ['info', 7],
    ],
  )
  assert.throws(() => logMessages()('loud'), { code: 'ROUTER_INVALID' })
  assert.throws(() => logMessages()('info', '-1'), { code: 'ROUTER_INVALID' })
})

test('timeout and idempotent mark their route', () => {
  const router = new Router()
  router.on('a', () => {}, { middleware: ['timeout:5s', 'idempotent'] })
  router.on('b', () => {}, { middleware: ['timeout:2'] })
  const [a, b] = router.commit({ middleware: { timeout, idempotent } }).routes
  assert.deepEqual([a!.timeoutMs, a!.idempotent, b!.timeoutMs, b!.idempotent], [5_000, true, 2_000, false])
  for (const text of ['', 'soon', '0']) assert.throws(() => timeout(text), { code: 'ROUTER_INVALID' })
})

test('validate checks at its place, once, and can want fields', async () => {
  let parsed = 0
  const payload = z.object({ n: z.number() }).transform(({ n }) => {
    parsed += 1
    return { n: n + 1 }
  })
  const seen: unknown[] = []
  const router = new Router()
  const spy: Middleware = (ctx, next) => {
    seen.push(ctx.payload)
    return next()
  }
  router.on('a', (ctx) => ctx.payload, { middleware: ['validate:n', spy], payload })
  const route = router.commit({ middleware: { validate } }).routes[0]!
  const given = (value: unknown) => {
    const { ctx } = message({ payload: value })
    return Object.assign(ctx, { route })
  }
  assert.deepEqual(await route.run(given({ n: 1 })), { n: 2 })
  assert.deepEqual(seen, [{ n: 2 }])
  assert.equal(parsed, 1)
  await assert.rejects(route.run(given({})), { code: 'PAYLOAD_INVALID', message: /lacks n/ })
  await assert.rejects(route.run(given({ n: 'x' })), { code: 'PAYLOAD_INVALID', message: /n: / })
})
