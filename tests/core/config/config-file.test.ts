import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig } from '../../../core/config/load-config.js'
import { folder } from '../support/folder.js'
import { load, mistakesOf } from './support.js'

const FILES = {
  'routemq.config.json': '{"http": {"port": 9000}, "mqtt": {"reply_prefixes": ["a/#", "b/+"]}, "log": {"json": true}}',
  'routemq.config.yaml': 'http:\n  port: 9000\nmqtt:\n  reply_prefixes: [a/#, b/+]\nlog:\n  json: true\n',
  'routemq.config.ts':
    'const port: number = 9000\nexport default { http: { port }, mqtt: { reply_prefixes: ["a/#", "b/+"] }, log: { json: true } }',
}

for (const [name, text] of Object.entries(FILES)) {
  test(`${name} is read`, (t) => {
    const { config } = load(t, {}, { [name]: text })
    assert.equal(config.http.port, 9000)
    assert.deepEqual(config.mqtt.replyPrefixes, ['a/#', 'b/+'])
    assert.equal(config.log.format, 'json')
  })
}

test('an unknown place names the nearest one, and a wrong value its place', (t) => {
  const text = '{"http": {"prot": 9000}, "mqtt": {"port": "x"}}'
  assert.deepEqual(
    mistakesOf(() => load(t, {}, { 'routemq.config.json': text })),
    [
      { key: 'routemq.config.json http.prot', got: 'an unknown setting', want: 'http.port' },
      { key: 'routemq.config.json mqtt.port', got: 'x', want: 'an integer from 0 to 65535' },
    ],
  )
})

test('a file that is broken or doubled is a mistake', (t) => {
  const broken = mistakesOf(() => load(t, {}, { 'routemq.config.json': '{"http": ' }))
  assert.deepEqual(
    broken.map(({ key, want }) => [key, want]),
    [['routemq.config.json', 'a file that can be read']],
  )
  const doubled = mistakesOf(() => load(t, {}, { 'routemq.config.json': '{}', 'routemq.config.yaml': '' }))
  assert.deepEqual(doubled, [
    { key: 'routemq.config.json', got: 'also routemq.config.yaml', want: 'one configuration file' },
  ])
})

for (const [name, text] of Object.entries({
  'routemq.config.json': '{"mqtt": {"password": 123456}, "http": {"api_keys": ["good", 1e3]}}',
  'routemq.config.yaml': 'mqtt:\n  password: 00123456\nhttp:\n  api_keys: [good, true]\n',
})) {
  test(`a secret in ${name} that is no text is refused: what was meant is lost by then`, (t) => {
    const mistakes = mistakesOf(() => load(t, {}, { [name]: text }))
    assert.deepEqual(
      mistakes,
      ['mqtt.password', 'http.api_keys'].map((path) => ({
        key: `${name} ${path}`,
        got: 'no text',
        want: 'a text in quotes: "00123456", not 00123456',
      })),
    )
  })
}

test('secrets in quotes are taken as they stand', (t) => {
  const text = 'mqtt:\n  username: plant\n  password: "00123456"\nhttp:\n  api_keys: ["0012345678901234"]\n'
  const { config } = load(t, {}, { 'routemq.config.yaml': text })
  assert.deepEqual([config.mqtt.password, config.http.apiKeys], ['00123456', ['0012345678901234']])
})

test('a TypeScript file that throws ends the start with its message', (t) => {
  const mistakes = mistakesOf(() => load(t, {}, { 'routemq.config.ts': 'throw new Error("no such plant")' }))
  assert.deepEqual(mistakes, [{ key: 'routemq.config.ts', got: 'no such plant', want: 'a file that can be read' }])
})

test('a TypeScript file is compiled anew each time it is read', (t) => {
  const text = (port: number) => `export default { http: { port: ${port} } }\n`
  const root = folder(t, { 'routemq.config.ts': text(9001) })
  const port = () => loadConfig({ root, env: {}, keepInstance: false }).config.http.port
  assert.equal(port(), 9_001)
  writeFileSync(join(root, 'routemq.config.ts'), text(9002))
  assert.equal(port(), 9_002)
})
