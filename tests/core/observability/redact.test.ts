import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createKey } from '../../../core/http/keys.js'
import { hideValues, REDACTED, redact, redactText } from '../../../core/observability/redact.js'

test('secrets are known by the names of their keys, at any depth', () => {
  for (const key of [
    'password',
    'api_key',
    'apiKey',
    'x-api-key',
    'MQTT_PASSWORD',
    'db_pass_wd'.replace('_wd', 'wd'),
    'authorization',
    'Authorization',
    'cookie',
    'set-cookie',
    'accessToken',
    'run_token',
    'client_secret',
    'private_key',
    'jwt',
    'apiKeys',
    'HTTP_API_KEYS',
  ]) {
    assert.deepEqual(redact({ a: { [key]: 'hunter2' } }), { a: { [key]: REDACTED } }, key)
  }
  for (const key of ['device_id', 'tokens_left_over', 'passenger', 'keyboard', 'topic']) {
    assert.deepEqual(redact({ [key]: 'v' }), { [key]: 'v' }, key)
  }
  assert.deepEqual(redact({ password: undefined, token: null }), { password: undefined, token: null })
})

test('secrets are known by their shape in texts', () => {
  assert.equal(
    redactText('to mqtts://plant:hunter2@broker:8883/x and back'),
    `to mqtts://plant:${REDACTED}@broker:8883/x and back`,
  )
  assert.equal(redactText('postgres://:hunter2@h'), `postgres://:${REDACTED}@h`)
  assert.equal(redactText('mqtt://host:1883/a@b'), 'mqtt://host:1883/a@b')
  assert.equal(redactText('sent Authorization: Bearer abcdef.ghijkl'), `sent Authorization: Bearer ${REDACTED}`)
  const { key } = createKey({ name: 'n', scope: 'read' }, 0)
  for (let times = 0; times < 3; times += 1) assert.equal(redactText(`key ${key}!`), `key ${REDACTED}!`)
})

test('records are bounded and always JSON, whatever is logged', () => {
  const circular: Record<string, unknown> = { a: 1 }
  circular.self = circular
  assert.doesNotThrow(() => JSON.stringify(redact(circular)))
  assert.ok(JSON.stringify(redact({ list: Array(10_000).fill('x'), text: 'y'.repeat(1_000_000) })).length < 12_000)
  assert.equal(redact(Buffer.alloc(5_000)), '[5000 bytes]')
  assert.equal(redact(new Date(Number.NaN)), null)
  fc.assert(
    fc.property(
      fc.anything({
        withBigInt: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withTypedArray: true,
        withNullPrototype: true,
      }),
      (value) => {
        const text = JSON.stringify(redact(value))
        if (text !== undefined) JSON.parse(text)
      },
    ),
  )
})

test('a configured secret is in no text, whatever shape and place it has; what is too short to be one stays', () => {
  hideValues(['pl(ain+word)', 'short'])
  assert.equal(redactText('GET /x/pl(ain+word)?y'), 'GET /x/[redacted]?y')
  assert.deepEqual(redact({ list: ['pl(ain+word)'], word: 'short' }), { list: ['[redacted]'], word: 'short' })
})

test('a private key is in no text, whole or cut short, and what stands around it stays', () => {
  const body = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj'
  for (const kind of ['', 'RSA ', 'EC ', 'ENCRYPTED ']) {
    const pem = `-----BEGIN ${kind}PRIVATE KEY-----\n${body}\n-----END ${kind}PRIVATE KEY-----`
    assert.equal(redactText(`a ${pem} b`), `a ${REDACTED} b`)
    assert.equal(redactText(`a ${pem.slice(0, -20)}`), `a ${REDACTED}`)
    assert.deepEqual(redact({ tls: { key: pem, cert: '-----BEGIN CERTIFICATE-----' } }), {
      tls: { key: REDACTED, cert: '-----BEGIN CERTIFICATE-----' },
    })
  }
})
