import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLoopback, isLoopbackHostHeader, isLoopbackOrigin } from '../../../core/http/guard.js'

test('loopback addresses are known in every spelling', () => {
  for (const host of [
    '127.0.0.1',
    '127.8.9.10',
    '::1',
    '[::1]',
    '0:0:0:0:0:0:0:1',
    'localhost',
    'LocalHost',
    'localhost.',
    '::ffff:127.0.0.1',
    '[::ffff:7f00:1]',
  ])
    assert.equal(isLoopback(host), true, host)
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    'example.com',
    'localhost.example.com',
    '127.0.0.1.nip.io',
    '::ffff:10.0.0.1',
    '2001:db8::1',
    '',
  ])
    assert.equal(isLoopback(host), false, host)
})

test('a Host header is taken with any port and nothing else', () => {
  for (const header of ['127.0.0.1', '127.0.0.1:8000', 'localhost:80', '[::1]:8000', '[::1]', '[::ffff:127.0.0.1]:1']) {
    assert.equal(isLoopbackHostHeader(header), true, header)
  }
  for (const header of [
    undefined,
    '',
    'evil.example',
    'evil.example:8000',
    'localhost:8000:1',
    'localhost@evil.example',
    'evil.example/localhost',
    'localhost evil',
    '::1',
    '127.0.0.1:999999',
    '[::1',
    'localhost\\evil',
  ]) {
    assert.equal(isLoopbackHostHeader(header), false, String(header))
  }
})

test('an Origin is a page of this machine or it is not', () => {
  for (const origin of ['http://localhost:3000', 'https://127.0.0.1', 'http://[::1]:8000']) {
    assert.equal(isLoopbackOrigin(origin), true, origin)
  }
  for (const origin of ['null', '', 'http://evil.example', 'http://localhost.evil.example', 'file://localhost']) {
    assert.equal(isLoopbackOrigin(origin), false, origin)
  }
})
