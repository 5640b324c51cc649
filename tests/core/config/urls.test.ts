import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brokerUrlOfHost, databaseUrlOf, parseBrokerUrl, parseDatabaseUrl } from '../../../core/config/urls.js'

for (const [text, url] of [
  ['mqtt://h', 'mqtt://h:1883'],
  ['tcp://h:1', 'mqtt://h:1'],
  ['mqtts://h', 'mqtts://h:8883'],
  ['ssl://h', 'mqtts://h:8883'],
  ['ws://h/mqtt?x=1', 'ws://h:80/mqtt?x=1'],
  ['wss://h:9001/', 'wss://h:9001'],
  ['mqtt://h:80', 'mqtt://h:80'],
  ['MQTT://[::1]:1883', 'mqtt://[::1]:1883'],
  ['http://h', undefined],
  ['mqtt://', undefined],
  ['h:1883', undefined],
] as const) {
  test(`broker ${text} is ${url}`, () => assert.equal(parseBrokerUrl(text)?.url, url))
}

test('credentials of a broker URL are taken out and decoded', () => {
  assert.deepEqual(parseBrokerUrl('mqtt://a%2Fb:p%40ss@h'), { url: 'mqtt://h:1883', username: 'a/b', password: 'p@ss' })
})

test('a port beside a URL counts where the URL names none', () => {
  assert.equal(parseBrokerUrl('mqtt://h', 2000)?.url, 'mqtt://h:2000')
  assert.equal(parseBrokerUrl('mqtt://h:1', 2000)?.url, 'mqtt://h:1')
})

for (const [host, url] of [
  ['h', 'mqtt://h:1883'],
  ['10.0.0.1', 'mqtt://10.0.0.1:1883'],
  ['::1', 'mqtt://[::1]:1883'],
  ['h/x', undefined],
  ['a b', undefined],
] as const) {
  test(`broker host ${host} is ${url}`, () => assert.equal(brokerUrlOfHost(host, undefined), url))
}

for (const [text, address] of [
  ['none', { kind: 'none' }],
  ['NONE', { kind: 'none' }],
  ['sqlite:///data/x.db', { kind: 'sqlite', file: '/app/data/x.db' }],
  ['sqlite+aiosqlite:///./x.db', { kind: 'sqlite', file: '/app/x.db' }],
  ['sqlite:////var/x.db', { kind: 'sqlite', file: '/var/x.db' }],
  ['sqlite:x.db', { kind: 'sqlite', file: '/app/x.db' }],
  ['sqlite://', { kind: 'sqlite', file: ':memory:' }],
  ['sqlite:///:memory:', { kind: 'sqlite', file: ':memory:' }],
  ['postgresql+asyncpg://u:p@h:5432/d?x=1', { kind: 'postgres', url: 'postgres://u:p@h:5432/d?x=1' }],
  ['postgres://h/d', { kind: 'postgres', url: 'postgres://h/d' }],
  ['mysql+aiomysql://u@h/d', { kind: 'mysql', url: 'mysql://u@h/d' }],
  ['mariadb://h/d', { kind: 'mysql', url: 'mysql://h/d' }],
  ['postgres://h', undefined],
  ['oracle://h/d', undefined],
  ['just text', undefined],
] as const) {
  test(`database ${text}`, () => assert.deepEqual(parseDatabaseUrl(text, '/app'), address))
}

test('DB_* settings become a URL with everything escaped', () => {
  const url = databaseUrlOf({
    kind: 'mysql',
    host: '::1',
    port: undefined,
    name: 'a/b',
    user: 'u@x',
    password: 'p:/?#',
  })
  assert.equal(url, 'mysql://u%40x:p%3A%2F%3F%23@[::1]:3306/a%2Fb')
})
