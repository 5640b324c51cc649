import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import type { JwtConfig } from '../../../core/config/config.js'
import { type TokenVerifier, tokenVerifier } from '../../../core/http/tokens.js'
import { until } from '../support/until.js'
import { bearer } from './client.js'
import { httpConfig, testConfig } from './fake-services.js'
import { start } from './started.js'

const SECRET = 'a-secret-of-at-least-thirty-two-bytes!!'

async function keyPair(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const sign = (claims: Record<string, unknown> = {}) =>
    new SignJWT({ sub: 'svc', scope: 'read', ...claims })
      .setProtectedHeader({ alg: 'RS256', kid })
      .setExpirationTime('1m')
      .sign(privateKey)
  return { jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' }, publicKey, sign }
}

/** The key set of an issuer; `answer` is what it says next. */
async function issuer(t: TestContext) {
  const set = { body: '{"keys":[]}', status: 200, fetched: 0 }
  const server = createServer((_request, response) => {
    set.fetched += 1
    response.writeHead(set.status, { 'content-type': 'application/json' }).end(set.body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close().closeAllConnections())
  return { set, jwksUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys` }
}

const codeOf = (verify: TokenVerifier, token: string) =>
  verify(token).then(
    ({ name, scope }) => `${name} ${scope}`,
    ({ code }: { code: string }) => code,
  )

test('keys of the issuer rotate without a restart: new ones are fetched, those that are gone open nothing', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const [old, fresh] = await Promise.all([keyPair('old'), keyPair('fresh')])
  const say = (...keys: object[]) => {
    set.body = JSON.stringify({ keys })
  }
  const verify = tokenVerifier({ jwksUrl }, { cooldownMs: 0 })
  say(old.jwk)
  assert.equal(await codeOf(verify, await old.sign()), 'jwt:svc read')
  assert.equal(await codeOf(verify, await old.sign()), 'jwt:svc read')
  assert.equal(set.fetched, 1, 'what is known is not fetched for each token')
  assert.equal(await codeOf(verify, await fresh.sign()), 'UNAUTHENTICATED')
  say(old.jwk, fresh.jwk)
  assert.deepEqual(
    [await codeOf(verify, await fresh.sign()), await codeOf(verify, await old.sign())],
    ['jwt:svc read', 'jwt:svc read'],
  )
  say(fresh.jwk)
  assert.equal(await codeOf(verify, await (await keyPair('unknown')).sign()), 'UNAUTHENTICATED')
  assert.equal(await codeOf(verify, await old.sign()), 'UNAUTHENTICATED')
  assert.equal(await codeOf(verify, await fresh.sign()), 'jwt:svc read')
})

test('tokens with made-up keys do not make the key set be fetched for each', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const known = await keyPair('known')
  set.body = JSON.stringify({ keys: [known.jwk] })
  const verify = tokenVerifier({ jwksUrl })
  assert.equal(await codeOf(verify, await known.sign()), 'jwt:svc read')
  const { privateKey } = await generateKeyPair('RS256')
  for (let count = 0; count < 20; count += 1) {
    const stranger = await new SignJWT({ sub: 'x', scope: 'admin' })
      .setProtectedHeader({ alg: 'RS256', kid: `made-up-${count}` })
      .setExpirationTime('1m')
      .sign(privateKey)
    assert.equal(await codeOf(verify, stranger), 'UNAUTHENTICATED')
  }
  assert.equal(set.fetched, 1)
})

test('an issuer that is away locks nobody out: the keys that were fetched stay good until it says otherwise', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const [known, other] = await Promise.all([keyPair('known'), keyPair('other')])
  const verify = tokenVerifier({ jwksUrl }, { cooldownMs: 0, maxAgeMs: 1 })
  set.body = JSON.stringify({ keys: [known.jwk] })
  assert.equal(await codeOf(verify, await known.sign()), 'jwt:svc read')
  set.status = 500
  for (let count = 0; count < 3; count += 1) {
    const fetched = set.fetched
    await pause(5)
    assert.equal(await codeOf(verify, await known.sign()), 'jwt:svc read')
    await until(() => set.fetched > fetched)
  }
  assert.equal(await codeOf(verify, await other.sign()), 'JWKS_UNAVAILABLE', 'what is not known cannot be judged')
  set.status = 200
  set.body = JSON.stringify({ keys: [other.jwk] })
  await until(async () => (await codeOf(verify, await known.sign())) === 'UNAUTHENTICATED')
  assert.equal(await codeOf(verify, await other.sign()), 'jwt:svc read')
})

test('after a long silence the set is fetched before a key of it is taken', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const known = await keyPair('known')
  const verify = tokenVerifier({ jwksUrl }, { cooldownMs: 0, maxAgeMs: 1 })
  set.body = JSON.stringify({ keys: [known.jwk] })
  assert.equal(await codeOf(verify, await known.sign()), 'jwt:svc read')
  set.body = '{"keys":[]}'
  await pause(20)
  assert.equal(await codeOf(verify, await known.sign()), 'UNAUTHENTICATED')
})

test('a reload that leaves the tokens as they are keeps what is known of the issuer', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const known = await keyPair('known')
  set.body = JSON.stringify({ keys: [known.jwk] })
  const sidecar = await start(t, { config: { jwt: { jwksUrl } } })
  const status = async () => (await sidecar.get('/api/devices', bearer(await known.sign()))).status
  const reload = (jwt: JwtConfig) =>
    sidecar.reconfigure({ ...testConfig, http: httpConfig({ jwt, rateLimit: { max: 100, windowMs: 1_000 } }) })
  assert.equal(await status(), 200)
  set.status = 500
  reload({ jwksUrl })
  assert.equal(await status(), 200)
  assert.equal(set.fetched, 1)
  reload({ jwksUrl, issuer: 'https://plant.example' })
  assert.equal(await status(), 503)
})

test('a key set that is none is no fault of the caller', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const { sign } = await keyPair('one')
  for (const body of ['no JSON', '[]', '{"keys":1}', '{"keys":[1]}']) {
    set.body = body
    assert.equal(await codeOf(tokenVerifier({ jwksUrl }), await sign()), 'JWKS_UNAVAILABLE', body)
  }
})

test('with a secret and a key set, neither kind of key is ever taken for the other', async (t) => {
  const { set, jwksUrl } = await issuer(t)
  const known = await keyPair('one')
  set.body = JSON.stringify({
    keys: [known.jwk, { kty: 'oct', kid: 'shared', k: Buffer.from('x'.repeat(32)).toString('base64url') }],
  })
  const verify = tokenVerifier({ secret: SECRET, jwksUrl })
  const hmac = (
    secret: string,
    header: { alg: string; kid?: string; crit?: string[]; b64?: boolean } = { alg: 'HS256' },
  ) =>
    new SignJWT({ sub: 'svc', scope: 'admin' })
      .setProtectedHeader(header)
      .setExpirationTime('1m')
      .sign(new TextEncoder().encode(secret))
  assert.deepEqual(
    [await codeOf(verify, await known.sign()), await codeOf(verify, await hmac(SECRET))],
    ['jwt:svc read', 'jwt:svc admin'],
  )
  const pem = await exportSPKI(known.publicKey)
  const [head, payload, signature] = (await known.sign()).split('.') as [string, string, string]
  const withHead = (header: object) =>
    `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.${signature}`
  const refused = {
    'the public key as secret, PEM': await hmac(pem, { alg: 'HS256', kid: 'one' }),
    'the public key as secret, without its last newline': await hmac(pem.trimEnd(), { alg: 'HS256', kid: 'one' }),
    'the public key as secret, JWK': await hmac(JSON.stringify(known.jwk), { alg: 'HS256', kid: 'one' }),
    'a secret out of the key set': await hmac('x'.repeat(32), { alg: 'HS256', kid: 'shared' }),
    'a signature of RS256 called HS256': withHead({ alg: 'HS256', kid: 'one' }),
    'a signature of RS256 called none': withHead({ alg: 'none', kid: 'one' }),
    'a signature of RS256 called PS256': withHead({ alg: 'PS256', kid: 'one' }),
    'an algorithm that is a list': withHead({ alg: ['RS256'], kid: 'one' }),
    'a key of its own in the header': withHead({ alg: 'RS256', kid: 'two', jwk: known.jwk }),
    'an address of keys in the header': withHead({ alg: 'RS256', kid: 'two', jku: jwksUrl }),
    'a critical extension': withHead({ alg: 'RS256', kid: 'one', crit: ['x'], x: 1 }),
    'no signature': `${head}.${payload}.`,
    'two payloads': `${head}.${payload}${payload}.${signature}`,
  }
  for (const [what, token] of Object.entries(refused))
    assert.equal(await codeOf(verify, token), 'UNAUTHENTICATED', what)
})
