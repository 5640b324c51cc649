import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { commandsFor } from '../../../core/cli/command-table.js'
import { EXIT, exitCodeOf } from '../../../core/cli/exit-codes.js'
import { reportError } from '../../../core/cli/report-error.js'
import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { ERROR_CODES, type ErrorCode } from '../../../core/support/error-codes.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

for (const [line, message] of [
  [['rout:list'], /unknown command 'rout:list'\n\(Did you mean route:list\?\)/],
  [['run', '--wrokers', '2'], /unknown option '--wrokers'\n\(Did you mean --workers\?\)/],
  [['--rnu'], /unknown option '--rnu'\n\(Did you mean --run\?\)/],
  [['--run', '--workers', 'two'], /Want an integer from 0 to 64/],
  [['pub', 'a/+', 'x'], /"a\/\+" is no topic/],
  [['sub', 'a/#/b'], /"a\/#\/b" is no MQTT topic filter/],
  [['pub', '', 'x'], /The topic is empty/],
  [['make:router', '9'], /"9" is no name for a file/],
  [['make:router', '../x'], /"\.\.\/x" is no name for a file/],
  [['route:match', 'a/+/b'], /"a\/\+\/b" is no topic: a message has one without/],
  [['key:revoke', 'scada'], /"scada" is no prefix of a key: .*key:list/],
  [['device:read', 'x', '70000'], /70000 is no address/],
  [['device:read', 'x', '1', 'level'], /Name one address/],
  [['device:write', 'x', '1', 'high'], /"high" is no number/],
  [['device:write', 'x', '1', '2', '--type', 'input'], /only holding registers and coils/],
  [['test', 'nowhere'], /There is no /],
] as const) {
  test(`a wrong command line says so and ends with 2: ${line.join(' ')}`, async (t) => {
    const { code, out, err } = await command(folder(t), line)
    assert.equal(code, EXIT.usage)
    assert.equal(out, '')
    assert.match(err, /^routemq: USAGE: /)
    assert.match(err, message)
  })
}

test('--help and --version end with 0', async (t) => {
  const root = folder(t)
  const help = await command(root, ['--help'])
  assert.equal(help.code, 0)
  for (const word of ['init', 'run', 'route:list', 'migrate', 'pub', 'sub', 'device:read', 'make:router']) {
    assert.match(help.out, new RegExp(`^  ${word}\\b`, 'm'))
  }
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  assert.deepEqual(await command(root, ['--version']), { code: 0, out: version, err: '' })
})

test('a command line that names a command loads that one alone, and it is the one that the help shows', async () => {
  const namesOf = (registers: Awaited<ReturnType<typeof commandsFor>>): string[] => {
    const program = new Command()
    for (const register of registers) register({ program, action: async () => {} })
    return program.commands.map((command) => command.name())
  }
  const all = namesOf(await commandsFor([]))
  assert.ok(all.length > 30, all.join())
  for (const name of all) {
    const found = await commandsFor(['--json', '--root', 'run', name, 'migrate'])
    assert.equal(found.length, 1, name)
    assert.ok(namesOf(found).includes(name), name)
  }
  for (const line of [['help'], ['runn'], ['--help', 'run'], ['run', '-h']]) {
    assert.equal(namesOf(await commandsFor(line)).length, all.length, line.join(' '))
  }
})

test('a wrong setting ends with 3 and lists every mistake', async (t) => {
  const root = folder(t, { '.env': 'MQTT_BROKR=x\nHTTP_PORT=y\n' })
  const { code, err } = await command(root, ['config:show'])
  assert.equal(code, EXIT.configuration)
  assert.match(err, /CONFIG_INVALID: 2 settings are wrong:/)
  assert.match(err, /MQTT_BROKR: got an unknown setting in .env; want MQTT_BROKER/)
  assert.match(err, /HTTP_PORT: got y; want an integer from 0 to 65535/)
})

test('with --json errors are JSON too', async (t) => {
  const { code, err } = await command(folder(t), ['worker:list', '--json'])
  assert.equal(code, EXIT.notRunning)
  const { error } = JSON.parse(err) as { error: { code: string } }
  assert.equal(error.code, 'NOT_RUNNING')
  for (const line of [
    ['worker:lst'],
    ['worker:scale', 'x'],
    ['worker:list', '--al'],
    ['dead:show'],
    ['key:list', 'more'],
  ]) {
    const wrong = await command(folder(t), [...line, '--json'])
    assert.deepEqual([wrong.code, wrong.out, JSON.parse(wrong.err).error.code], [EXIT.usage, '', 'USAGE'], wrong.err)
  }
})

test('every command explains itself, without colour', async (t) => {
  const root = folder(t)
  const { out } = await command(root, ['--help'])
  const names = [...out.matchAll(/^ {2}([a-z]+(?::[a-z]+)?) /gm)]
    .map(([, name]) => name!)
    .filter((name) => name !== 'help')
  assert.ok(names.length > 30, names.join())
  for (const name of names) {
    const help = await command(root, [name, '--help'])
    assert.deepEqual([help.code, help.err], [0, ''], name)
    assert.match(help.out, new RegExp(`^Usage: routemq ${name} `), name)
    assert.match(help.out, /\n\n[A-Za-z][^\n]{10,}/, `${name} says what it does`)
    assert.match(help.out, /^ +--json +print JSON$/m, name)
    assert.ok(!help.out.includes('\u001b'), name)
  }
})

test('config:show tells value and origin, secrets masked', async (t) => {
  const root = folder(t, { '.env': 'MQTT_BROKER_HOST=plant\n' })
  const { code, out } = await command(root, ['config:show', '--json'], { MQTT_PASSWORD: 'secret' })
  assert.equal(code, 0)
  const { mode, settings } = JSON.parse(out) as { mode: string; settings: { path: string }[] }
  assert.equal(mode, 'normal')
  const find = (path: string) => settings.find((one) => one.path === path)
  assert.deepEqual(find('mqtt.broker'), {
    path: 'mqtt.broker',
    name: 'MQTT_BROKER_HOST',
    value: 'plant',
    from: '.env',
    effect: 'restart',
  })
  assert.deepEqual(find('mqtt.password'), {
    path: 'mqtt.password',
    name: 'MQTT_PASSWORD',
    value: '***',
    from: 'environment',
    effect: 'live',
  })
  const people = await command(root, ['config:show', '--set'])
  assert.match(
    people.out,
    /^mode normal, instance \S+\n\nsetting +name +value +from\nmqtt\.broker +MQTT_BROKER_HOST +plant +\.env$/,
  )
})

test('every error code has an exit code, and none is success', () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    assert.ok(exitCodeOf(code) >= 1 && exitCodeOf(code) <= EXIT.unknown, code)
  }
  assert.deepEqual(
    (['ROUTE_CLASH', 'DEVICE_TIMEOUT', 'WRITE_OUTCOME_UNKNOWN', 'DEVICE_UNKNOWN', 'INTERNAL'] as const).map(exitCodeOf),
    [EXIT.configuration, EXIT.unavailable, EXIT.unknown, EXIT.refused, EXIT.failure],
  )
})

test('an error names its causes once, and a defect shows its stack', () => {
  const said: string[] = []
  const context = { err: (text: string) => void said.push(text) }
  const cause = new Error('connect ECONNREFUSED', { cause: new Error('the root of it') })
  reportError(new RouteMQError('BROKER_UNAVAILABLE', 'No broker: connect ECONNREFUSED', { cause }), context, false)
  assert.equal(said[0], 'routemq: BROKER_UNAVAILABLE: No broker: connect ECONNREFUSED\n  because: the root of it')
  assert.equal(said[1], ERROR_CODES.BROKER_UNAVAILABLE.advice)
  assert.equal(reportError(new TypeError('x is not a function'), context, false), EXIT.failure)
  assert.match(said[2]!, /^routemq: INTERNAL: TypeError: x is not a function\n {4}at /)
})

test('the real binary exits with the code', () => {
  const main = fileURLToPath(new URL('../../../core/cli/main.ts', import.meta.url))
  const flags = ['--conditions=routemq:source', '--import', 'tsx', main]
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, 'sub', 'a/#/b'], { encoding: 'utf8' })
  assert.deepEqual([status, stdout], [EXIT.usage, ''])
  assert.match(stderr, /no MQTT topic filter/)
})

test('a path that cannot be read or written is a wrong command line: it is named, with the reason, and no stack', async (t) => {
  const root = folder(t, {
    'app/devices.ts': 'export default { devices: [] }',
    'sim.yaml':
      'port: 0\nunits: { 1: { moving: { holding: { 0: { kind: replay, csv: nope.csv, column: value, everyMs: 10 } } } } }\n',
    'words.yaml':
      'port: 0\nunits: { 1: { moving: { holding: { 0: { kind: replay, csv: words.csv, column: value, everyMs: 10 } } } } }\n',
    'words.csv': 'value\nhigh\n',
  })
  const env = { DATABASE_URL: `sqlite:///${root}/plant.db` }
  assert.equal((await command(root, ['migrate'], env)).code, 0)
  for (const [args, message] of [
    [['backup', '/nonexist/b'], /USAGE: \/nonexist\/b cannot be written: ENOENT/],
    [['backup', `${root}/plant.db/b`], /USAGE: \S*plant\.db\/b cannot be written: ENOTDIR/],
    [['restore', '/nope'], /USAGE: \/nope cannot be read: ENOENT/],
    [['restore', root], /USAGE: \S+ cannot be read: EISDIR/],
    [['device:export', '/nope/x.yaml'], /USAGE: \/nope\/x\.yaml cannot be written: ENOENT/],
    [['device:simulate', `${root}/sim.yaml`], /USAGE: \S*\/nope\.csv cannot be read: ENOENT/],
    [['device:simulate', `${root}/words.yaml`], /USAGE: \S*\/words\.csv cannot be read: line 2 .*"high"/],
  ] as const) {
    const { code, err } = await command(root, args, env)
    assert.equal(code, EXIT.usage, `${args.join(' ')}: ${err}`)
    assert.match(err, message)
    assert.doesNotMatch(err, /INTERNAL|\n {4}at /)
  }
})

test('a reader that has enough of what is printed ends a command quietly, as `head -1` does', async (t) => {
  const device = await startVirtualDevice({ units: { 1: { holding: [7] } } })
  t.after(() => device.close())
  const file = `export default { devices: [{
    device_id: 'boiler', host: '127.0.0.1', port: ${device.port}, framer: 'SOCKET', points: [{ name: 'p', address: 0 }],
  }], targets: [] }`
  const root = folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' })
  const cli = fileURLToPath(new URL('../../../core/cli/main.ts', import.meta.url))
  const flags = ['--conditions=routemq:source', '--import', 'tsx', cli, '--root', root]
  const child = spawn(process.execPath, [...flags, 'device:watch', 'boiler', '-i', '100'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let err = ''
  child.stderr.on('data', (text) => {
    err += String(text)
  })
  child.stdout.once('data', () => child.stdout.destroy())
  const [code] = (await once(child, 'close')) as [number | null]
  assert.deepEqual([code, err], [0, ''])
})
