import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { keepInstanceId } from '../../../core/config/instance.js'
import { loadConfig } from '../../../core/config/load-config.js'
import { changedSettings } from '../../../core/config/settings-report.js'
import { folder } from '../support/folder.js'
import { load, mistakesOf } from './support.js'

test('nothing configured is demo mode: everything inside, ports that may move', (t) => {
  const { config, warnings } = load(t)
  assert.equal(config.mode, 'demo')
  assert.equal(config.mqtt.url, undefined)
  assert.deepEqual(config.mqtt.embedded, { port: 1883, mayMove: true })
  assert.deepEqual(config.modbus.demoPort, { port: 5020, mayMove: true })
  assert.deepEqual([config.http.host, config.http.port, config.http.mayMove], ['127.0.0.1', 8000, true])
  assert.deepEqual(config.database, { kind: 'sqlite', file: join(config.app.root, 'data/routemq.db') })
  assert.equal(config.workers.slots, 2)
  assert.deepEqual(config.mqtt.window, { messages: 64, bytes: 8 * 2 ** 20 })
  assert.deepEqual(warnings, [])
})

for (const [name, value] of [
  ['MQTT_BROKER', 'localhost'],
  ['MQTT_URL', 'mqtt://localhost'],
  ['MQTT_PORT', '1884'],
  ['DATABASE_URL', 'sqlite:///x.db'],
  ['ENABLE_MYSQL', 'true'],
  ['DB_HOST', 'localhost'],
  ['PLANT_HOST', '10.0.0.5'],
  ['MODBUS_DEMO_PORT', '5021'],
  ['HTTP_PORT', '8001'],
] as const) {
  test(`${name} ends demo mode`, (t) => {
    const { config } = load(t, { [name]: value })
    assert.equal(config.mode, 'normal')
    assert.equal(config.http.mayMove, false)
    assert.equal(config.mqtt.embedded.mayMove, false)
  })
}

for (const [name, value] of [
  ['DATABASE_URL', 'none'],
  ['MQTT_BROKER', 'embedded'],
  ['ENABLE_MYSQL', 'false'],
  ['NODE_ENV', 'test'],
  ['LOG_LEVEL', 'debug'],
] as const) {
  test(`${name}=${value} leaves demo mode on`, (t) => assert.equal(load(t, { [name]: value }).config.mode, 'demo'))
}

test('what ended demo mode is named', (t) => {
  const { warnings } = load(t, { MQTT_BROKER_PORT: '1884', HTTP_PORT: '8001' })
  assert.equal(
    warnings.at(-1),
    'Demo mode is off because MQTT_BROKER_PORT, HTTP_PORT is set; ROUTEMQ_DEMO=true keeps it.',
  )
})

test('production is never demo mode and asks for a broker', (t) => {
  assert.deepEqual(
    mistakesOf(() => load(t, { NODE_ENV: 'production' })).map(({ key }) => key),
    ['MQTT_BROKER'],
  )
  const { config } = load(t, { NODE_ENV: 'production', MQTT_BROKER: 'embedded' })
  assert.deepEqual([config.mode, config.app.production, config.mqtt.url], ['normal', true, undefined])
})

test('ROUTEMQ_DEMO keeps demo mode beside a real database, and a set port still never moves', (t) => {
  const { config } = load(t, { ROUTEMQ_DEMO: 'true', DATABASE_URL: 'postgres://u@h/d', HTTP_PORT: '8123' })
  assert.equal(config.mode, 'demo')
  assert.deepEqual([config.http.port, config.http.mayMove], [8123, false])
  assert.equal(config.mqtt.embedded.mayMove, true)
  assert.deepEqual(config.modbus.demoPort, { port: 5020, mayMove: true })
})

test('the environment is stronger than .env, .env than the configuration file', (t) => {
  const files = {
    '.env': 'MQTT_GROUP_NAME=from-env-file\nMQTT_CLIENT_ID=from-env-file\n',
    'routemq.config.json': JSON.stringify({ mqtt: { group_name: 'file', client_id: 'file', keepalive_seconds: 7 } }),
  }
  const { config, origins } = load(t, { MQTT_GROUP_NAME: 'from-environment' }, files)
  assert.equal(config.mqtt.groupName, 'from-environment')
  assert.equal(config.mqtt.clientId, 'from-env-file')
  assert.equal(config.mqtt.keepaliveSeconds, 7)
  const from = (path: string) => origins.find((one) => one.path === path)?.from
  assert.deepEqual(['mqtt.group_name', 'mqtt.client_id', 'mqtt.keepalive_seconds', 'mqtt.port'].map(from), [
    'environment',
    '.env',
    'routemq.config.json',
    'default',
  ])
})

test('an empty value counts as not set', (t) => {
  assert.equal(load(t, { MQTT_BROKER: '', HTTP_PORT: '', DB_PASS: '' }).config.mode, 'demo')
})

test('every mistake is reported at once, with what would be right', (t) => {
  const files = { '.env': 'MQTT_BROKR=localhost\nHTTP_PORT=eight\nMY_OWN=fine\n' }
  const env = { MQTT_PORT: '70000', POLL_INTERVAL_SECONDS: '-1', LOG_LEVEL: 'loud' }
  assert.deepEqual(
    mistakesOf(() => load(t, env, files)),
    [
      { key: 'MQTT_BROKR', got: 'an unknown setting in .env', want: 'MQTT_BROKER, or nothing' },
      { key: 'MQTT_PORT', got: '70000', want: 'an integer from 0 to 65535' },
      { key: 'POLL_INTERVAL_SECONDS', got: '-1', want: 'seconds from 0.01 to 86400' },
      { key: 'HTTP_PORT', got: 'eight', want: 'an integer from 0 to 65535' },
      {
        key: 'LOG_LEVEL',
        got: 'loud',
        want: 'one of trace, debug, info, warn, warning, error, fatal, critical, silent, off',
      },
    ],
  )
})

test('no secret appears in a mistake, a warning or the report of settings', (t) => {
  const secret = 'hunter2hunter2'
  const env = {
    MQTT_URL: `mqtt://user:${secret}@broker`,
    MQTT_BROKER: `mqtt://user:${secret}@other`,
    MQTT_PASSWORD: secret,
    DATABASE_URL: `postgres://user:${secret}@host/name`,
    DB_PASS: secret,
    DB_HOST: 'host',
    HTTP_API_KEYS: `${secret}${secret}`,
    ROUTEMQ_API_KEYS: secret,
  }
  const { origins, warnings } = load(t, env)
  assert.ok(!JSON.stringify({ origins, warnings }).includes(secret))
  assert.equal(warnings.length, 2)
  const broken = { ...env, DATABASE_URL: `oracle://user:${secret}@host/name`, MQTT_URL: `amqp://u:${secret}@h` }
  const mistakes = mistakesOf(() => load(t, { ...broken, HTTP_API_KEYS: secret }))
  assert.equal(mistakes.length, 3)
  assert.ok(!JSON.stringify(mistakes).includes(secret))
})

for (const [name, value] of [
  ['ROUTEMQ_API_KEYS', ','],
  ['HTTP_API_KEYS', ' , '],
] as const) {
  test(`${name} without keys, or from an empty file, is a mistake and not an open door`, (t) => {
    assert.deepEqual(
      mistakesOf(() => load(t, { [name]: value })),
      [{ key: name, got: 'a list without items', want: 'at least one item, or no such setting' }],
    )
    for (const content of ['', '\n', ' \r\n']) {
      assert.deepEqual(
        mistakesOf(() => load(t, { [`${name}_FILE`]: 'keys' }, { keys: content })),
        [{ key: `${name}_FILE`, got: 'keys (an empty file)', want: 'a file with the secret in it' }],
      )
    }
  })
}

test('NAME_FILE works for secrets, without its last newline, and a missing file is a mistake', (t) => {
  const root = folder(t, { 'run/secret': 'päss word\n' })
  const { config } = loadConfig({ root, env: { MQTT_BROKER: 'b', MQTT_PASSWORD_FILE: 'run/secret' } })
  assert.equal(config.mqtt.password, 'päss word')
  const mistakes = mistakesOf(() => loadConfig({ root, env: { MQTT_PASSWORD_FILE: 'run/none' } }))
  assert.deepEqual(mistakes, [{ key: 'MQTT_PASSWORD_FILE', got: 'run/none (ENOENT)', want: 'a file that can be read' }])
})

test('a private key that is taken for a path, and a broken file with a password, are not quoted', (t) => {
  for (const key of [' -----BEGIN PRIVATE KEY-----\nc2VjcmV0', 'c2VjcmV0\nc2VjcmV0', 'c2VjcmV0'.repeat(40)]) {
    const mistakes = mistakesOf(() => load(t, { MQTT_CERT: '-----BEGIN C', MQTT_KEY: key }))
    assert.equal(mistakes.length, 1)
    assert.match(mistakes[0]!.got, /^\*\*\* \(E[A-Z]+\)$/)
  }
  const broken = '{ "mqtt": { "password": hunter2 } }'
  assert.deepEqual(
    mistakesOf(() => load(t, {}, { 'routemq.config.json': broken })),
    [{ key: 'routemq.config.json', got: 'no JSON', want: 'a file that can be read' }],
  )
  const unclosed = '{\n "mqtt": { "password": "hunter2"\n "x" } }'
  const [mistake] = mistakesOf(() => load(t, {}, { 'routemq.config.json': unclosed }))
  assert.equal(mistake?.got, 'no JSON from line 3 on')
})

test('TLS material is kept as a path or as text; a certificate needs its key', (t) => {
  const root = folder(t, { 'ca.pem': '-----BEGIN CERTIFICATE-----' })
  const { config } = loadConfig({
    root,
    env: { MQTT_URL: 'mqtts://b', MQTT_CA_FILE: 'ca.pem', MQTT_CERT: '-----BEGIN C', MQTT_KEY: '-----BEGIN K' },
  })
  const { ca, cert, key } = config.mqtt.tls
  assert.deepEqual({ ca, cert, key }, { ca: join(root, 'ca.pem'), cert: '-----BEGIN C', key: '-----BEGIN K' })
  const mistakes = mistakesOf(() => loadConfig({ root, env: { MQTT_CERT_FILE: 'none.pem' } }))
  assert.deepEqual(
    mistakes.map((one) => one.key),
    ['MQTT_CERT_FILE', 'MQTT_CERT'],
  )
})

test('names of RouteMQ and NexusBus mean the same; where they differ, the start says which won', (t) => {
  const { config, warnings } = load(t, { MQTT_BROKER_HOST: 'nexus', MQTT_BROKER_PORT: '1999' })
  assert.equal(config.mqtt.url, 'mqtt://nexus:1999')
  assert.deepEqual(warnings, [])
  const both = load(t, { MQTT_BROKER: 'one', MQTT_BROKER_HOST: 'two' })
  assert.equal(both.config.mqtt.url, 'mqtt://one:1883')
  assert.deepEqual(both.warnings, [
    'MQTT_BROKER=one (environment) is used; MQTT_BROKER_HOST=two (environment) names the same thing and is not.',
  ])
  const same = load(t, { MQTT_BROKER: 'one', MQTT_BROKER_HOST: 'one' })
  assert.deepEqual(same.warnings, [])
  const across = load(t, { MQTT_BROKER_HOST: 'two' }, { '.env': 'MQTT_BROKER=one' })
  assert.equal(across.config.mqtt.url, 'mqtt://two:1883')
  assert.equal(across.warnings.length, 1)
})

test('MQTT_URL wins over MQTT_BROKER, MQTT_PORT and credentials beside it are told', (t) => {
  const { config, warnings } = load(t, { MQTT_URL: 'mqtts://u:p%40@one', MQTT_BROKER: 'two', MQTT_USERNAME: 'other' })
  assert.deepEqual([config.mqtt.url, config.mqtt.username, config.mqtt.password], ['mqtts://one:8883', 'other', 'p@'])
  assert.equal(warnings.length, 1)
  const port = load(t, { MQTT_URL: 'mqtt://one:1883', MQTT_PORT: '1884' })
  assert.equal(port.config.mqtt.url, 'mqtt://one:1883')
  assert.match(port.warnings.join(), /MQTT_PORT=1884 is not used/)
})

test('a .env as RouteMQ ships it works as it stands', (t) => {
  const env = `MQTT_BROKER=test.mosquitto.org
MQTT_PORT=1883
MQTT_USERNAME=
MQTT_PASSWORD=
MQTT_CLIENT_ID=mqtt-framework-main
MQTT_GROUP_NAME=mqtt_framework_group
ENABLE_MYSQL=false
DB_HOST=localhost
DB_PORT=3306
DB_NAME=mqtt_framework
DB_USER=root
DB_PASS=
LOG_LEVEL=INFO
LOG_FORMAT="%(asctime)s - %(name)s - %(levelname)s - %(message)s"
LOG_TO_FILE=true
LOG_FILE=logs/app.log
LOG_MAX_BYTES=10485760
LOG_BACKUP_COUNT=5
LOG_ROTATION_TYPE=size
`
  const { config, warnings } = load(t, {}, { '.env': env })
  assert.equal(config.mqtt.url, 'mqtt://test.mosquitto.org:1883')
  assert.equal(config.mqtt.groupName, 'mqtt_framework_group')
  assert.equal(config.database.kind, 'sqlite')
  assert.deepEqual([config.log.level, config.log.format], ['info', 'text'])
  assert.deepEqual(config.log.file, { path: join(config.app.root, 'logs/app.log'), maxBytes: 10_485_760, keep: 5 })
  assert.deepEqual(
    warnings.map((one) => one.split(':')[0]),
    ['LOG_ROTATION_TYPE in .env', 'LOG_FORMAT is a pattern of Python logging, which has no counterpart here'],
  )
})

test('a .env as NexusBus has it works as it stands', (t) => {
  const env = `APP_NAME=Nexus
DATABASE_URL=postgresql+asyncpg://nexus:secret@db:5432/nexus
DATABASE_ECHO=false
MQTT_BROKER_HOST=broker
MQTT_BROKER_PORT=1883
MQTT_TOPIC_PREFIX=plant/data
POLL_INTERVAL_SECONDS=2.5
CACHE_TTL_SECONDS=60
LOG_JSON=true
LOG_INCLUDE_CALLER=true
CIRCUIT_BREAKER_FAILURE_THRESHOLD=3
CIRCUIT_BREAKER_RECOVERY_TIMEOUT=10
`
  const { config, warnings } = load(t, {}, { '.env': env })
  assert.deepEqual(warnings, [])
  assert.equal(config.app.name, 'Nexus')
  assert.deepEqual(config.database, {
    kind: 'postgres',
    url: 'postgres://nexus:secret@db:5432/nexus',
    poolSize: 5,
    echo: false,
  })
  assert.equal(config.modbus.topicPrefix, 'plant/data')
  assert.deepEqual([config.poller.intervalMs, config.poller.cacheTtlMs], [2500, 60_000])
  assert.deepEqual(config.modbus.breaker, { failures: 3, recoveryMs: 10_000 })
  assert.deepEqual([config.log.format, config.log.includeCaller], ['json', true])
})

test('LOG_FORMAT wins over LOG_JSON, except that a Python pattern does not undo LOG_JSON=true', (t) => {
  assert.equal(load(t, { LOG_FORMAT: 'pretty', LOG_JSON: 'true' }).config.log.format, 'pretty')
  assert.equal(load(t, { LOG_FORMAT: '%(message)s', LOG_JSON: 'true' }).config.log.format, 'json')
  assert.equal(load(t, {}, {}, { terminal: true }).config.log.format, 'pretty')
})

test('an address that others reach needs a key', (t) => {
  assert.deepEqual(
    mistakesOf(() => load(t, { HTTP_HOST: '0.0.0.0' })).map(({ key }) => key),
    ['HTTP_API_KEYS'],
  )
  assert.equal(load(t, { HTTP_HOST: '0.0.0.0', HTTP_API_KEYS: 'k'.repeat(32) }).config.http.host, '0.0.0.0')
  assert.equal(load(t, { HTTP_HOST: '0.0.0.0', HTTP_ENABLED: 'false' }).config.http.enabled, false)
})

test('tokens open a foreign address as keys do; a half of their settings is a mistake', (t) => {
  const secret = 's'.repeat(32)
  const { http } = load(t, { HTTP_HOST: '0.0.0.0', HTTP_JWT_SECRET: secret, HTTP_JWT_AUDIENCE: 'plant' }).config
  assert.deepEqual(http.jwt, {
    secret,
    jwksUrl: undefined,
    issuer: undefined,
    audience: 'plant',
    scopeClaim: 'scope',
  })
  const keys = 'https://login.example/keys'
  const open = load(t, { HTTP_HOST: '::', HTTP_JWKS_URL: keys })
  assert.equal(open.config.http.jwt?.jwksUrl, keys)
  assert.match(open.warnings.join(), /HTTP_JWKS_URL without HTTP_JWT_AUDIENCE/)
  const bound = load(t, { HTTP_HOST: '::', HTTP_JWKS_URL: keys, HTTP_JWT_AUDIENCE: 'plant' })
  assert.doesNotMatch(bound.warnings.join(), /HTTP_JWT_AUDIENCE/)
  assert.equal(load(t, { HTTP_HOST: '::' }, { 'data/api-keys.json': '[]' }).config.http.host, '::')
  assert.deepEqual(
    mistakesOf(() => load(t, { HTTP_JWT_SECRET: 'short', HTTP_JWT_ISSUER: 'me' })),
    [
      { key: 'HTTP_JWT_SECRET', got: '***', want: 'at least 32 characters' },
      { key: 'HTTP_JWT_ISSUER', got: 'HTTP_JWT_ISSUER alone', want: 'HTTP_JWT_SECRET or HTTP_JWKS_URL beside it' },
    ],
  )
  const file = load(t, { HTTP_JWT_SECRET_FILE: 'jwt' }, { jwt: `${secret}\n` })
  assert.equal(file.config.http.jwt?.secret, secret)
  assert.ok(!JSON.stringify(file.origins).includes(secret))
})

test('limits and origins of the sidecar', (t) => {
  assert.deepEqual(
    [load(t).config.http.rateLimit, load(t).config.http.bodyLimitBytes, load(t).config.http.corsOrigins],
    [undefined, 1_048_576, []],
  )
  const { http } = load(t, {
    HTTP_RATE_LIMIT: '100/10s',
    HTTP_BODY_LIMIT: '64KiB',
    HTTP_CORS_ORIGINS: 'https://board.example, http://localhost:3000',
  }).config
  assert.deepEqual(http.rateLimit, { max: 100, windowMs: 10_000 })
  assert.deepEqual(
    [http.bodyLimitBytes, http.corsOrigins],
    [65_536, ['https://board.example', 'http://localhost:3000']],
  )
  assert.equal(load(t, { HTTP_RATE_LIMIT: 'off' }).config.http.rateLimit, 'off')
  for (const [name, wrong] of [
    ['HTTP_RATE_LIMIT', '100'],
    ['HTTP_RATE_LIMIT', '0/1s'],
    ['HTTP_RATE_LIMIT', '5/banana'],
    ['HTTP_CORS_ORIGINS', '*'],
    ['HTTP_CORS_ORIGINS', 'https://board.example/path'],
    ['HTTP_BODY_LIMIT', '10'],
  ] as const) {
    assert.deepEqual(
      mistakesOf(() => load(t, { [name]: wrong })).map(({ key }) => key),
      [name],
      wrong,
    )
  }
})

test('the whole object is frozen', (t) => {
  const { config } = load(t)
  const frozen = (value: object): boolean =>
    Object.isFrozen(value) &&
    Object.values(value).every((one) => typeof one !== 'object' || one === null || frozen(one))
  assert.ok(frozen(config))
})

test('the instance id is random, kept, and not written where a command only looks', (t) => {
  const root = folder(t)
  loadConfig({ root, env: {}, keepInstance: false })
  assert.ok(!existsSync(join(root, 'data')))
  const first = loadConfig({ root, env: {} }).config.app.instance
  assert.match(first, /^[0-9a-f]{8}$/)
  assert.equal(readFileSync(join(root, 'data/instance'), 'utf8'), `${first}\n`)
  assert.equal(loadConfig({ root, env: {} }).config.app.instance, first)
  assert.equal(loadConfig({ root, env: { ROUTEMQ_INSTANCE: 'line-3' } }).config.app.instance, 'line-3')
})

test('where the instance id cannot be kept it is the same after each start, is said, and is kept later', (t) => {
  const root = folder(t, { 'not-a-folder': '' })
  const load = () => loadConfig({ root, env: { ROUTEMQ_DATA_DIR: 'not-a-folder' } })
  const { config, warnings } = load()
  assert.match(config.app.instance, /^[0-9a-f]{8}$/)
  assert.match(warnings.join(), /could not be kept.*set ROUTEMQ_INSTANCE/)
  const otherProcess = spawnSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', ID_OF], {
    env: { ...process.env, ID_FOLDER: join(root, 'not-a-folder') },
    encoding: 'utf8',
  })
  assert.equal(otherProcess.stdout, config.app.instance, otherProcess.stderr)
  rmSync(join(root, 'not-a-folder'))
  mkdirSync(join(root, 'not-a-folder'))
  keepInstanceId(config.app.dataDir)
  assert.equal(readFileSync(join(root, 'not-a-folder/instance'), 'utf8'), `${config.app.instance}\n`)
  assert.equal(load().config.app.instance, config.app.instance)
})

const ID_OF = `import { instanceId } from ${JSON.stringify(new URL('../../../core/config/instance.ts', import.meta.url).href)}
process.stdout.write(instanceId(process.env.ID_FOLDER, true, () => {}))`

test('an instance file without an id, as a full disk left it, is written anew', (t) => {
  const root = folder(t, { 'data/instance': '' })
  const { config, warnings } = loadConfig({ root, env: {} })
  assert.deepEqual(warnings, [])
  assert.equal(readFileSync(join(root, 'data/instance'), 'utf8'), `${config.app.instance}\n`)
})

test('--workers is stronger than everything and is checked', (t) => {
  assert.equal(load(t, { ROUTEMQ_WORKERS: '4' }, {}, { flags: { workers: 0 } }).config.workers.slots, 0)
  assert.deepEqual(
    mistakesOf(() => load(t, {}, {}, { flags: { workers: 65 } })),
    [{ key: '--workers', got: '65', want: 'an integer from 0 to 64' }],
  )
})

test('a password of the database changes live, where the database and its user stay the same', (t) => {
  const server = { DB_CONNECTION: 'postgres', DB_HOST: 'db', DB_PASS: 'one' }
  const byUrl = (url: string) => ({ DATABASE_URL: url })
  const change = (before: Record<string, string>, after: Record<string, string>) =>
    changedSettings(load(t, before).values, load(t, after).values).map(({ name, effect }) => `${name} ${effect}`)
  assert.deepEqual(change(server, { ...server, DB_PASS: 'two' }), ['DB_PASS live'])
  assert.deepEqual(change(server, { ...server, DB_PASS: 'two', DB_HOST: 'other' }), [
    'DB_HOST restart',
    'DB_PASS restart',
  ])
  assert.deepEqual(change(server, { DB_CONNECTION: 'postgres', DB_HOST: 'db' }), ['DB_PASS restart'])
  const url = byUrl('postgresql+asyncpg://plant:one@db:5432/routemq?sslmode=require')
  assert.deepEqual(change(url, byUrl('postgresql+asyncpg://plant:t%3Awo@db:5432/routemq?sslmode=require')), [
    'DATABASE_URL live',
  ])
  for (const other of [
    'postgresql+asyncpg://plant:two@other:5432/routemq?sslmode=require',
    'postgresql+asyncpg://else:two@db:5432/routemq?sslmode=require',
    'postgresql+asyncpg://plant:two@db:5432/other?sslmode=require',
    'postgresql+asyncpg://plant@db:5432/routemq?sslmode=require',
  ]) {
    assert.deepEqual(change(url, byUrl(other)), ['DATABASE_URL restart'], other)
  }
  const held = load(t, server)
  const { config } = load(t, { ...server, DB_PASS: 'two', DB_HOST: 'other' }, {}, { held: held.resolved })
  assert.deepEqual(config.database, held.config.database, 'no new password at the old server')
})

test('changed settings say what each needs', (t) => {
  const running = load(t, { POLL_INTERVAL_SECONDS: '5', HTTP_PORT: '8001', ROUTEMQ_WORKERS: '2' })
  const env = { POLL_INTERVAL_SECONDS: '6', HTTP_PORT: '8002', ROUTEMQ_WORKERS: '3', MQTT_BROKER: 'elsewhere' }
  const before = running.values
  const after = load(t, env).values
  assert.deepEqual(
    changedSettings(before, after).map(({ path, effect }) => `${path} ${effect}`),
    ['workers.slots workers', 'mqtt.broker restart', 'poller.interval_seconds live', 'http.port restart'],
  )
  assert.deepEqual(changedSettings(before, before), [])
  const slots = (from: string | undefined, to: string, flag?: number) =>
    changedSettings(
      load(t, from === undefined ? {} : { ROUTEMQ_WORKERS: from }).values,
      load(t, { ROUTEMQ_WORKERS: to }).values,
      flag === undefined ? {} : { workers: flag },
    ).map(({ effect }) => effect)
  assert.deepEqual(
    [slots('2', '3'), slots('2', '0'), slots('0', '2'), slots('2', '3', 4), slots(undefined, '2')],
    [['workers'], ['restart'], ['restart'], ['restart'], []],
    'to work with or without worker processes, or with another number than a flag says, takes a start',
  )
  const { config } = load(t, env, {}, { held: running.resolved })
  assert.deepEqual(
    [config.workers.slots, config.poller.intervalMs, config.http.port, config.mqtt.url],
    [3, 6_000, 8_001, undefined],
    'what needs a restart stays as the running product has it',
  )
})
