import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { loadConfig } from '../../core/config/load-config.js'
import { SETTINGS } from '../../core/config/settings.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

interface Service {
  readonly image?: string
  readonly build?: string
  readonly profiles?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly ports?: readonly string[]
  readonly volumes?: readonly string[]
  readonly healthcheck?: { readonly test: readonly string[] }
}
const compose = parse(read('docker-compose.yml')) as { services: Record<string, Service>; volumes: object }

test('compose has the product, a broker, PostgreSQL, and MariaDB in a profile', () => {
  const { app, mosquitto, postgres, mysql } = compose.services
  assert.deepEqual(Object.keys(compose.services), ['app', 'mosquitto', 'postgres', 'mysql'])
  assert.deepEqual(mysql?.profiles, ['mysql'])
  assert.ok([app, mosquitto, postgres].every((service) => service?.profiles === undefined))
})

test('every service has a health check, the product on /live', () => {
  for (const [name, service] of Object.entries(compose.services)) assert.ok(service.healthcheck !== undefined, name)
  assert.match(compose.services.app!.healthcheck!.test.join(' '), /8000\/live/)
})

test('no password has a default, and what is published listens on loopback only', () => {
  for (const service of Object.values(compose.services)) {
    for (const [name, value] of Object.entries(service.environment ?? {})) {
      if (/PASS|KEY|SECRET|TOKEN/.test(name) && name !== 'MARIADB_RANDOM_ROOT_PASSWORD') {
        assert.match(value, /^\$\{[A-Z_]+:\?[^}]+\}$/, `${name} must be asked for`)
      }
    }
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/)
  }
})

test('the settings of the product in compose exist, and together they start', (t) => {
  const names = new Set(Object.values(SETTINGS).flatMap((setting) => setting.names as readonly string[]))
  const environment = compose.services.app!.environment!
  assert.deepEqual(
    Object.keys(environment).filter((name) => !names.has(name)),
    [],
  )
  const root = mkdtempSync(join(tmpdir(), 'routemq-compose-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, interpolate(value)]))
  const { config } = loadConfig({ root, env: { ...env, NODE_ENV: 'production' } })
  assert.equal(config.mode, 'normal')
  assert.deepEqual(config.mqtt.url, 'mqtt://mosquitto:1883')
  assert.equal(config.database.kind, 'postgres')
  assert.deepEqual(config.http.host, '0.0.0.0')
})

test('every mounted file exists and every volume is declared', () => {
  for (const service of Object.values(compose.services)) {
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':')
      assert.ok(source.startsWith('.') ? existsSync(join(ROOT, source)) : source in compose.volumes, volume)
    }
  }
})

test('docker compose reads the file, where it is installed', (t) => {
  const env = { ...process.env, COMPOSE_PROFILES: 'mysql' }
  const { status, stderr, error } = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8' })
  if (error !== undefined || status !== 0) return t.skip('docker compose is not installed')
  const values = Object.fromEntries(
    [...read('docker-compose.yml').matchAll(/\$\{([A-Z_]+):\?/g)].map(([, name]) => [name!, 'x'.repeat(16)]),
  )
  const good = spawnSync('docker', ['compose', 'config', '--quiet'], {
    cwd: ROOT,
    env: { ...env, ...values },
    encoding: 'utf8',
  })
  assert.equal(good.status, 0, good.stderr + stderr)
  const bare = spawnSync('docker', ['compose', 'config', '--quiet'], { cwd: ROOT, env, encoding: 'utf8' })
  assert.notEqual(bare.status, 0, 'without passwords it must not start')
})

test('the broker of compose is configured not to drop', (t) => {
  const lines = new Map(
    read('docker/mosquitto.conf')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(/ (.*)/s).slice(0, 2) as [string, string]),
  )
  assert.ok(Number(lines.get('max_queued_messages')) >= 100_000)
  assert.deepEqual(
    ['persistence', 'autosave_on_changes', 'allow_anonymous'].map((name) => lines.get(name)),
    ['true', 'true', 'false'],
  )
  assert.equal(lines.get('set_tcp_nodelay'), 'true', 'or each answer may wait 40 ms')
  const mosquitto = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto'].find((path) => existsSync(path))
  if (mosquitto === undefined) {
    if (process.env.ROUTEMQ_TEST_SERVICES === 'required') throw new Error('mosquitto is not installed')
    return t.skip('mosquitto is not installed')
  }
  // The real broker reads it, with folders and a port of this test; it has no --check, so it is started and ended.
  const folder = mkdtempSync(join(tmpdir(), 'routemq-mosquitto-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'passwords'), '')
  const text = read('docker/mosquitto.conf')
    .replace('listener 1883', `listener 0 ${folder}/socket`)
    .replace('/mosquitto/secrets/passwords', join(folder, 'passwords'))
    .replace('/mosquitto/data/', `${folder}/`)
  // Started as root it would become a user who may not enter a folder of root's.
  const user = process.getuid?.() === 0 ? '\nuser root\n' : ''
  writeFileSync(join(folder, 'mosquitto.conf'), text + user)
  const { stdout, stderr, error } = spawnSync(mosquitto, ['-c', join(folder, 'mosquitto.conf')], {
    encoding: 'utf8',
    timeout: 1_000,
  })
  assert.equal(
    (error as NodeJS.ErrnoException | undefined)?.code,
    'ETIMEDOUT',
    `it ran until it was ended: ${stdout}${stderr}`,
  )
  assert.ok(!/\berror\b/i.test(stdout + stderr), stdout + stderr)
})

test('the image has several stages, ends without root, and starts the product without a shell', () => {
  const lines = read('Dockerfile')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  assert.equal(lines.filter((line) => line.startsWith('FROM ')).length, 2)
  const last = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')))
  assert.ok(!last.some((line) => /^RUN .*npm/.test(line)), 'nothing is installed in the last stage')
  assert.equal(
    last.findLast((line) => line.startsWith('USER ')),
    'USER node',
  )
  assert.match(last.find((line) => line.startsWith('HEALTHCHECK'))!, /\/live/)
  const command = JSON.parse(last.findLast((line) => line.startsWith('CMD '))!.slice(4)) as string[]
  assert.deepEqual(command, ['node', '--v8-pool-size=1', 'node_modules/routemq/dist/core/cli/main.js', '--run'])
})

test('what the image copies exists, or is made by the build', () => {
  const built = ['dist', 'node_modules']
  const sources = [...read('Dockerfile').matchAll(/^COPY (?:--from=build )?(.+) \S+$/gm)]
    .flatMap(([, names]) => names!.split(' '))
    .map((name) => name.replace('/build/', ''))
  assert.ok(sources.length > 10)
  assert.deepEqual(
    sources.filter((name) => !built.includes(name) && !existsSync(join(ROOT, name))),
    [],
  )
})

test('secrets and data stay out of the image', () => {
  const ignored = read('.dockerignore').split('\n')
  assert.deepEqual(
    ['.env', 'data', 'node_modules', '.git'].filter((name) => !ignored.includes(name)),
    [],
  )
})

test('scripts can be executed and parse', () => {
  for (const [path, shell] of [
    ['.ci/run', 'bash'],
    ['docker/mosquitto.sh', 'sh'],
  ] as const) {
    assert.ok((statSync(join(ROOT, path)).mode & 0o100) !== 0, path)
    const { status, stderr } = spawnSync(shell, ['-n', join(ROOT, path)], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
})

/** As compose does: `${NAME:-default}` and `${NAME:?message}`, with a value for each that must be set. */
function interpolate(text: string): string {
  return text.replace(/\$\{[A-Z_]+:(-|\?)([^}]*)\}/g, (_, kind: string, rest: string) =>
    kind === '-' ? rest : 'x'.repeat(16),
  )
}
