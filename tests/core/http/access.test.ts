import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { createKey, hashKey, prefixOf } from '../../../core/http/keys.js'
import { bearer } from './client.js'
import { keyStore, plant, RUN_TOKEN } from './fake-services.js'
import { start } from './started.js'

const WRITE = '/api/devices/meter-1/registers/write'
const write = { address: 1, value: 2 }

test('without credentials only loopback Host headers are served', async (context) => {
  const sidecar = await start(context)
  for (const host of ['127.0.0.1', 'localhost:1234', '[::1]:8000', '[::ffff:127.0.0.1]']) {
    assert.equal((await sidecar.get('/health', { headers: { host } })).status, 200, host)
  }
  for (const host of ['evil.example', 'evil.example:8000', '127.0.0.1.nip.io', '10.0.0.7']) {
    for (const path of ['/health', '/live', '/docs', '/openapi.json', '/nowhere', '/api/admin/devices']) {
      const answer = await sidecar.get(path, { headers: { host } })
      assert.equal(answer.status, 403, `${host} ${path}`)
      assert.equal(answer.body.code, 'HOST_REFUSED')
    }
  }
})

test('without credentials nobody is served through a proxy, whose callers may be anyone', async (context) => {
  const sidecar = await start(context)
  for (const header of ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip']) {
    const answer = await sidecar.get('/api/devices', { headers: { [header]: '203.0.113.7' } })
    assert.equal(answer.status, 403, header)
    assert.equal(answer.body.code, 'HOST_REFUSED')
  }
  const { key } = createKey({ name: 'front', scope: 'read' }, Date.now())
  const guarded = await start(context, { config: { apiKeys: [key] } })
  const through = { headers: { ...bearer(key).headers, 'x-forwarded-for': '203.0.113.7' } }
  assert.equal((await guarded.get('/api/devices', through)).status, 200)
})

test('without credentials no page of another origin is served, whatever it sends', async (context) => {
  const services = plant()
  const sidecar = await start(context, { services })
  for (const origin of ['https://evil.example', 'null']) {
    const answer = await sidecar.send('POST', '/api/admin/devices/reload', undefined, { headers: { origin } })
    assert.equal(answer.status, 403)
    assert.equal(answer.body.code, 'HOST_REFUSED')
  }
  const picture = { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' } }
  assert.equal((await sidecar.get('/api/devices/meter-1/registers?address=1', picture)).status, 403)
  assert.deepEqual(services.asked, [])
  const link = { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' } }
  assert.equal((await sidecar.get('/docs/', link)).status, 200)
  const same = { headers: { origin: sidecar.url } }
  assert.equal((await sidecar.send('POST', '/api/admin/devices/reload', undefined, same)).status, 200)
})

test('bodies that a form could send are refused before they are read', async (context) => {
  const services = plant()
  const sidecar = await start(context, { services })
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    '',
  ]) {
    const answer = await sidecar.send('POST', WRITE, JSON.stringify(write), { headers: { 'content-type': type } })
    assert.equal(answer.status, 415, type)
    assert.equal(answer.body.code, 'MEDIA_TYPE_REFUSED')
  }
  assert.deepEqual(services.asked, [])
})

test('with keys every path but /live and /ready asks for one, known paths and unknown ones', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['first-key', 'second-key'] } })
  assert.equal((await sidecar.get('/live')).status, 200)
  assert.equal((await sidecar.get('/ready')).status, 200)
  for (const path of [
    '/health',
    '/metrics',
    '/docs',
    '/docs/',
    '/docs/json',
    '/openapi.json',
    '/api/devices',
    '/nowhere',
    '/api/stream',
  ]) {
    const answer = await sidecar.get(path)
    assert.equal(answer.status, 401, path)
    assert.equal(answer.body.code, 'UNAUTHENTICATED')
    assert.match(String(answer.headers['www-authenticate']), /realm="routemq"/)
  }
  for (const key of ['first-key', 'second-key', RUN_TOKEN]) {
    assert.equal((await sidecar.get('/api/devices', bearer(key))).status, 200)
    assert.equal((await sidecar.get('/api/devices', { headers: { 'x-api-key': key } })).status, 200)
  }
  for (const wrong of ['first-ke', 'first-keyy', 'FIRST-KEY', RUN_TOKEN.slice(1), 'x'.repeat(5_000)]) {
    assert.equal((await sidecar.get('/api/devices', bearer(wrong))).status, 401)
  }
  // With credentials any name may be used: the key is what lets in.
  assert.equal(
    (await sidecar.get('/api/devices', { headers: { host: 'plant.example', 'x-api-key': 'first-key' } })).status,
    200,
  )
})

test('a bearer credential is one word, however its scheme is written', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['one'] } })
  const status = async (authorization: string) =>
    (await sidecar.get('/api/devices', { headers: { authorization } })).status
  for (const right of ['Bearer one', 'Bearer   one', 'bearer one', 'BEARER  one']) {
    assert.equal(await status(right), 200, right)
  }
  for (const wrong of ['Bearer', 'Bearer ', 'Bearer one two', 'Bearer one\tone', 'Bearer\tone', 'one', 'Digest one']) {
    assert.equal(await status(wrong), 401, wrong)
  }
})

test('a browser may open the documentation with the key as password, and only that', async (context) => {
  const sidecar = await start(context, { config: { apiKeys: ['first-key'] } })
  const basic = { headers: { authorization: `Basic ${Buffer.from('me:first-key').toString('base64')}` } }
  assert.equal((await sidecar.get('/docs/', basic)).status, 200)
  assert.equal((await sidecar.get('/openapi.json', basic)).status, 200)
  assert.match(String((await sidecar.get('/docs')).headers['www-authenticate']), /^Basic/)
  assert.equal((await sidecar.get('/api/devices', basic)).status, 401)
  assert.equal((await sidecar.get('/docs/../api/devices', basic)).status, 401)
})

test('kept keys are found by prefix, bound to their scope, and gone when revoked or expired', async (context) => {
  const keys = keyStore()
  const services = plant({ keys })
  const sidecar = await start(context, { services })
  assert.equal((await sidecar.get('/api/devices')).status, 200) // no key yet: open on loopback
  const made = Object.fromEntries(
    await Promise.all(
      (['read', 'write', 'admin'] as const).map(async (scope) => {
        const answer = await sidecar.send('POST', '/api/admin/keys', { name: scope, scope }, bearer(RUN_TOKEN))
        assert.equal(answer.status, 201)
        return [scope, answer.body.key as string]
      }),
    ),
  ) as Record<'read' | 'write' | 'admin', string>
  assert.equal((await sidecar.get('/api/devices')).status, 401) // the first key closed the door

  const status = async (key: string, method: string, path: string, body?: unknown) =>
    (await sidecar.send(method, path, body, bearer(key))).status
  assert.deepEqual(
    await Promise.all((['read', 'write', 'admin'] as const).map((scope) => status(made[scope], 'GET', '/api/devices'))),
    [200, 200, 200],
  )
  assert.deepEqual(
    await Promise.all((['read', 'write', 'admin'] as const).map((scope) => status(made[scope], 'POST', WRITE, write))),
    [403, 200, 200],
  )
  assert.deepEqual(
    await Promise.all(
      (['read', 'write', 'admin'] as const).map((scope) => status(made[scope], 'POST', '/api/admin/devices/reload')),
    ),
    [403, 403, 200],
  )
  assert.equal(await status(made.read, 'GET', '/api/admin/keys'), 403)
  assert.equal(await status(made.write, 'GET', '/api/audit'), 403)
  const prefix = prefixOf(made.write)!
  assert.match(JSON.stringify(services.asked), new RegExp(`key:${prefix}`))

  const listed = await sidecar.get('/api/admin/keys', bearer(made.admin))
  assert.equal(listed.body.length, 3)
  for (const secret of Object.values(made)) {
    assert.ok(!listed.text.includes(secret))
    assert.ok(!listed.text.includes(hashKey(secret).toString('hex')))
  }
  assert.equal(await status(made.admin, 'DELETE', `/api/admin/keys/${prefix}`), 204)
  assert.equal(await status(made.write, 'GET', '/api/devices'), 401)
  assert.equal(await status(made.admin, 'DELETE', '/api/admin/keys/000000000000'), 404)

  const old = createKey({ name: 'old', scope: 'admin', expiresAt: '2020-01-01T00:00:00Z' }, Date.now())
  await keys.add(old.record, { kind: 'cli', name: 'test' })
  assert.equal(await status(old.key, 'GET', '/api/devices'), 401)
  assert.equal(await status(`rmq_${prefixOf(made.admin)}_${'A'.repeat(43)}`, 'GET', '/api/devices'), 401)
})

test('a key that has expired before it is made is refused: it would close the door and open nothing', async (context) => {
  const sidecar = await start(context, { services: plant({ keys: keyStore() }) })
  for (const expires_at of ['2020-01-01T00:00:00Z', new Date().toISOString()]) {
    const { status, body } = await sidecar.send('POST', '/api/admin/keys', { name: 'n', scope: 'read', expires_at })
    assert.deepEqual(
      [status, body.code, body.errors],
      [422, 'REQUEST_INVALID', [{ field: 'expires_at', message: 'must be in the future' }]],
    )
  }
  assert.equal((await sidecar.get('/api/devices')).status, 200, 'the door is as it was')
})

test('a key is kept as its SHA-256, whatever bytes that has', () => {
  assert.equal(hashKey('abc').toString('hex'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  for (let n = 0; n < 100; n += 1) {
    assert.deepEqual(hashKey(`rmq_${n}_ä`), createHash('sha256').update(`rmq_${n}_ä`).digest())
  }
})

test('a key has 256 random bits and a shape that scanners know', () => {
  const { key, record } = createKey({ name: 'n', scope: 'read' }, 0)
  assert.match(key, /^rmq_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/)
  assert.equal(Buffer.from(key.slice(17), 'base64url').length, 32)
  assert.ok(!JSON.stringify(record).includes(key.slice(17)))
  assert.notEqual(createKey({ name: 'n', scope: 'read' }, 0).key, key)
})

test('HS256 tokens are taken while valid, and no other kind of token is', async (context) => {
  const secret = 'a-secret-of-at-least-thirty-two-bytes!!'
  const key = new TextEncoder().encode(secret)
  const sidecar = await start(context, { config: { jwt: { secret, issuer: 'plant', audience: 'routemq' } } })
  const token = (
    claims: Record<string, unknown>,
    options: { alg?: string; by?: Uint8Array; exp?: number | undefined } = {},
  ) => {
    const jwt = new SignJWT({ sub: 'anna', scope: 'read', iss: 'plant', aud: 'routemq', ...claims }).setProtectedHeader(
      { alg: options.alg ?? 'HS256' },
    )
    if ('exp' in options && options.exp === undefined) return jwt.sign(options.by ?? key)
    return jwt.setExpirationTime(options.exp ?? Math.floor(Date.now() / 1000) + 60).sign(options.by ?? key)
  }
  const status = async (jwt: string, method = 'GET', path = '/api/devices') =>
    (await sidecar.send(method, path, undefined, bearer(jwt))).status
  const good = await token({})
  assert.equal(await status(good), 200)
  assert.equal(await status(good, 'POST', '/api/admin/devices/reload'), 403)
  assert.equal(await status(await token({ scope: 'openid write admin' }), 'POST', '/api/admin/devices/reload'), 200)
  assert.equal(await status(await token({ scope: ['read', 'admin'] }), 'POST', '/api/admin/devices/reload'), 200)
  assert.equal(await status(await token({ scope: 'superuser' })), 403)

  const [, payload] = good.split('.') as [string, string, string]
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  const refused = {
    expired: await token({}, { exp: Math.floor(Date.now() / 1000) - 60 }),
    'without expiry': await token({}, { exp: undefined }),
    'without subject': await token({ sub: undefined }),
    'of another issuer': await token({ iss: 'other' }),
    'for another audience': await token({ aud: 'other' }),
    'signed by another key': await token({}, { by: new TextEncoder().encode('x'.repeat(40)) }),
    'HS512 with the right key': await token({}, { alg: 'HS512', by: new TextEncoder().encode(secret.repeat(2)) }),
    'alg none': `${none}.${payload}.`,
    'alg none with a signature': `${none}.${payload}.AAAA`,
    'alg NONE': `${Buffer.from('{"alg":"NONE"}').toString('base64url')}.${payload}.`,
    'a changed payload': good.replace(
      payload,
      Buffer.from(JSON.stringify({ sub: 'anna', scope: 'admin', iss: 'plant', aud: 'routemq', exp: 9e9 })).toString(
        'base64url',
      ),
    ),
    'not a token': 'a.b.c',
    'an array header': `${Buffer.from('[1]').toString('base64url')}.${payload}.x`,
  }
  for (const [what, jwt] of Object.entries(refused)) assert.equal(await status(jwt), 401, what)
})

test('RS256 tokens are checked against the key set, and its public key is never a secret', async (context) => {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }
  let up = true
  const keySet = createServer((_request, response) => {
    if (!up) return void response.writeHead(500).end()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [jwk] }))
  })
  await new Promise<void>((resolve) => keySet.listen(0, '127.0.0.1', resolve))
  context.after(() => keySet.close())
  const { port } = keySet.address() as { port: number }
  const jwksUrl = `http://127.0.0.1:${port}/keys`
  const sidecar = await start(context, { config: { jwt: { jwksUrl } } })
  const sign = (kid: string) =>
    new SignJWT({ sub: 'svc', scope: 'read' })
      .setProtectedHeader({ alg: 'RS256', kid })
      .setExpirationTime('1m')
      .sign(privateKey)
  assert.equal((await sidecar.get('/api/devices', bearer(await sign('one')))).status, 200)
  const unknown = await sidecar.get('/api/devices', bearer(await sign('two')))
  assert.equal(unknown.status, 401)
  const pem = new TextEncoder().encode(JSON.stringify(jwk))
  const confused = await new SignJWT({ sub: 'svc', scope: 'admin' })
    .setProtectedHeader({ alg: 'HS256', kid: 'one' })
    .setExpirationTime('1m')
    .sign(pem)
  assert.equal((await sidecar.get('/api/devices', bearer(confused))).status, 401)

  up = false
  const away = await start(context, { config: { jwt: { jwksUrl } } })
  const answer = await away.get('/api/devices', bearer(await sign('one')))
  assert.equal(answer.status, 503)
  assert.equal(answer.body.code, 'JWKS_UNAVAILABLE')
})

test('the caller is the actor of what it drives, with the request that asked', async (context) => {
  const services = plant()
  const sidecar = await start(context, { services })
  await sidecar.send('POST', WRITE, write, { headers: { 'x-request-id': 'order-7' } })
  const own = await sidecar.send('POST', WRITE, write, bearer(RUN_TOKEN))
  const actors = services.asked.map((request) => (request.op === 'write' ? request.actor : undefined))
  assert.deepEqual(actors, [
    { kind: 'http', name: 'open:127.0.0.1', request_id: 'order-7' },
    { kind: 'cli', name: 'run-token', request_id: own.headers['x-request-id'] },
  ])
})
