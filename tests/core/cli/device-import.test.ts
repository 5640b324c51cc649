import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import type { DeviceRecord } from '../../../core/modbus/device-record.js'
import { openStore } from '../database/databases.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

/** A project with a migrated database of its own and no device yet. */
async function project(t: TestContext, files: Readonly<Record<string, string>> = {}) {
  const root = folder(t, { 'package.json': '{"type":"module"}', ...files })
  mkdirSync(join(root, 'data'), { recursive: true })
  const env = { DATABASE_URL: `sqlite:///${join(root, 'data/routemq.db')}` }
  const run = (...args: string[]) => command(root, args, env)
  const migrated = await run('migrate')
  assert.equal(migrated.code, 0, migrated.err)
  const devices = async () => JSON.parse((await run('device:list', '--json')).out) as DeviceRecord[]
  /** As they stand in the database, secrets too. */
  const stored = async () => {
    const store = await openStore({ kind: 'sqlite', file: join(root, 'data/routemq.db') })
    return store.devices.list().finally(() => store.close())
  }
  const audit = async () => {
    const store = await openStore({ kind: 'sqlite', file: join(root, 'data/routemq.db') })
    return store.audit.list({ limit: 100 }).finally(() => store.close())
  }
  return { root, run, devices, stored, audit }
}

const DEVICES = `device_id,host,port,framer,slave_id,write_enabled,options
boiler,10.0.0.5,502,socket,1,no,"{""delay_ms"": 5}"
chiller,10.0.0.6,502,SOCKET,2,,
`
const POINTS = `device_id,name,address,type,scale,unit,enum,invalid
boiler,temperature,40011,int16,0.1,°C,,32768
boiler,mode,40012,uint16,,,off=0;heat=1,
boiler,running,00003,,,,,
`

test('devices and points come in from CSV, with the addresses of the manual', async (t) => {
  const { run, devices } = await project(t, { 'devices.csv': DEVICES, 'points.csv': POINTS })
  const created = await run('device:import', 'devices.csv')
  assert.deepEqual([created.code, created.out], [0, '2 devices created, 0 changed'], created.err)
  const points = await run('device:import', 'points.csv', '--notation', 'modicon5')
  assert.deepEqual([points.code, points.out], [0, '0 devices created, 1 changed'], points.err)
  const [boiler, chiller] = await devices()
  assert.deepEqual([boiler?.framer, boiler?.write_enabled, boiler?.options], ['SOCKET', false, { delay_ms: 5 }])
  assert.deepEqual(boiler?.points, [
    {
      name: 'temperature',
      address: 10,
      type: 'int16',
      scale: 0.1,
      unit: '°C',
      invalid: [32768],
      register_type: 'holding',
    },
    { name: 'mode', address: 11, type: 'uint16', enum: { off: 0, heat: 1 }, register_type: 'holding' },
    { name: 'running', address: 2, register_type: 'coil' },
  ])
  assert.deepEqual(chiller?.points, [])
})

test('a database without its tables is told how to get them', async (t) => {
  const root = folder(t, { 'package.json': '{"type":"module"}', 'devices.csv': DEVICES })
  const env = { DATABASE_URL: `sqlite:///${join(root, 'data/routemq.db')}` }
  const { code, err } = await command(root, ['device:import', 'devices.csv'], env)
  assert.equal(code, EXIT.configuration)
  assert.match(err, /DATABASE_SCHEMA: .* routemq migrate/)
})

test('every bad line is told by its number, and then nothing is changed', async (t) => {
  const { run, devices } = await project(t, {
    'devices.csv': `device_id,host,port,slave_id
good,10.0.0.5,502,1
a/b,10.0.0.5,502,1
late,10.0.0.5,banana,1
far,10.0.0.5,502,999
good,10.0.0.9,502,1
short,10.0.0.5
`,
    'strange.csv': 'device_id,hots\nx,1\n',
  })
  const { code, err } = await run('device:import', 'devices.csv')
  assert.equal(code, EXIT.refused)
  const told = err
    .split('\n')
    .map((line) => /csv:(\d+): (.*)/.exec(line)?.slice(1, 3))
    .filter((one) => one !== undefined)
  assert.deepEqual(
    told.map(([line]) => Number(line)).filter((line, at, all) => all.indexOf(line) === at),
    [3, 4, 5, 6, 7],
    err,
  )
  assert.match(err, /csv:4: port: "banana" is no number/)
  assert.match(err, /csv:6: device good stands in line 2 already/)
  assert.deepEqual(await devices(), [])
  const strange = await run('device:import', 'strange.csv')
  assert.match(strange.err, /csv:1: there is no column "hots"; did you mean host\?/)
})

test('YAML: lines of points too; a device that is known is changed', async (t) => {
  const { root, run, devices } = await project(t, {
    'plant.yaml': `devices:
  - device_id: boiler
    host: 10.0.0.5
    port: 502
    points:
      - { name: a, address: 1 }
      - { name: b, address: 2, type: float99 }
      - name: a
        address: 70000
`,
  })
  const wrong = await run('device:import', 'plant.yaml')
  assert.match(wrong.err, /yaml:7: type: /)
  assert.match(wrong.err, /yaml:8: address: /)
  assert.deepEqual(await devices(), [])
  writeFileSync(
    join(root, 'plant.yaml'),
    'devices: [{ device_id: boiler, host: 10.0.0.5, port: 502, points: [{ name: a, address: 1 }] }]\n',
  )
  assert.equal(
    (await run('device:import', 'plant.yaml', '--dry-run')).out,
    '1 devices created, 0 changed (checked only)',
  )
  assert.deepEqual(await devices(), [])
  assert.equal((await run('device:import', 'plant.yaml')).out, '1 devices created, 0 changed')
  writeFileSync(join(root, 'more.yaml'), 'devices: [{ device_id: boiler, timeout: 3 }]\n')
  assert.equal((await run('device:import', 'more.yaml')).out, '0 devices created, 1 changed')
  const [boiler] = await devices()
  assert.deepEqual([boiler?.timeout, boiler?.points.length, boiler?.host], [3, 1, '10.0.0.5'])
})

const TARGETS = `device_id,address,count,interval_ms,publish,options
boiler,40011,2,1000,deadband,"{""deadband"": 0.5}"
chiller,00003,8,,,
`

test('what is exported can be imported elsewhere and is the same', async (t) => {
  const here = await project(t, { 'devices.csv': DEVICES, 'points.csv': POINTS, 'targets.csv': TARGETS })
  await here.run('device:import', 'devices.csv')
  await here.run('device:import', 'points.csv', '--notation', 'modicon5')
  const polled = await here.run('device:import', 'targets.csv', '--notation', 'modicon5')
  assert.equal(polled.out, '0 devices created, 0 changed; 2 polling targets created, 0 changed', polled.err)
  const targets = async (run: typeof here.run) => {
    const plan = JSON.parse((await run('device:plan', 'boiler', '--json')).out) as { reads: object[] }
    return plan.reads
  }
  const polling = await targets(here.run)
  assert.equal(polling.length, 1)
  const strip = (all: DeviceRecord[]) => all.map(({ created_at: _, updated_at: __, ...rest }) => rest)
  const original = strip(await here.devices())
  for (const form of ['yaml', 'json'] as const) {
    const there = await project(t)
    assert.equal((await here.run('device:export', join(there.root, `plant.${form}`))).code, 0)
    const back = await there.run('device:import', `plant.${form}`)
    assert.equal(back.code, 0, back.err)
    assert.equal(back.out, '2 devices created, 0 changed; 2 polling targets created, 0 changed')
    assert.deepEqual(strip(await there.devices()), original, form)
    assert.deepEqual(await targets(there.run), polling)
    const again = await there.run('device:import', `plant.${form}`)
    assert.equal(again.out, 'Nothing to change: everything is as the file says')
  }
  const there = await project(t)
  await here.run('device:export', join(there.root, 'devices.csv'))
  await here.run('device:export', join(there.root, 'points.csv'), '--points')
  assert.equal(
    (await there.run('device:import', 'devices.csv')).code,
    0,
    readFileSync(join(there.root, 'devices.csv'), 'utf8'),
  )
  const points = await there.run('device:import', 'points.csv')
  assert.equal(points.code, 0, points.err)
  await here.run('device:export', join(there.root, 'targets.csv'), '--targets')
  assert.equal((await there.run('device:import', 'targets.csv')).code, 0)
  assert.deepEqual(await targets(there.run), polling)
  assert.deepEqual(strip(await there.devices()), original)
})

test('a profile describes a model once, with an offset and variables', async (t) => {
  const { run, devices } = await project(t, {
    'app/profiles/acme.yaml': `
variables: { base: 100, phase: L1 }
device: { framer: SOCKET, timeout: 2, options: { delay_ms: 7 } }
points:
  - { name: "power_{phase}", address: "{base} + 4", type: float32, unit: kW }
  - { name: mode, address: 0 }
`,
    'devices.csv': `device_id,host,port,timeout,profile
m1,10.0.0.5,502,,acme
m2,10.0.0.6,502,9,"{""name"": ""acme"", ""address_offset"": 1000, ""variables"": {""phase"": ""L2""}}"
`,
    'wrong.csv': 'device_id,host,port,profile\nm3,10.0.0.7,502,amce\n',
  })
  const created = await run('device:import', 'devices.csv')
  assert.equal(created.code, 0, created.err)
  const [m1, m2] = await devices()
  assert.deepEqual(m1?.points, [
    { name: 'power_L1', address: 104, type: 'float32', unit: 'kW' },
    { name: 'mode', address: 0 },
  ])
  assert.deepEqual([m1?.timeout, m1?.framer, m1?.options], [2, 'SOCKET', { delay_ms: 7, profile: 'acme' }])
  assert.deepEqual(
    m2?.points.map(({ name, address }) => [name, address]),
    [
      ['power_L2', 1_104],
      ['mode', 1_000],
    ],
  )
  assert.equal(m2?.timeout, 9, 'the device wins')
  assert.match(
    (await run('device:import', 'wrong.csv')).err,
    /csv:2: profile: there is no profile amce; known are: acme/,
  )
})

test('a device to which its profile is applied again keeps the options that the profile does not name', async (t) => {
  const profile = (delay: number) =>
    `device: { options: { delay_ms: ${delay} } }\npoints: [{ name: mode, address: ${delay} }]\n`
  const { root, run, devices } = await project(t, {
    'app/profiles/acme.yaml': profile(5),
    'new.csv': 'device_id,host,port,profile,options\nm,10.0.0.5,502,acme,"{""min_interval_ms"": 500}"\n',
    'again.csv': 'device_id,profile\nm,acme\n',
  })
  await run('device:import', 'new.csv')
  writeFileSync(join(root, 'app/profiles/acme.yaml'), profile(7))
  const again = await run('device:import', 'again.csv')
  assert.equal(again.code, 0, again.err)
  const [m] = await devices()
  assert.deepEqual(m?.options, { min_interval_ms: 500, delay_ms: 7, profile: 'acme' })
  assert.deepEqual(m?.points, [{ name: 'mode', address: 7 }])
})

test('a mistake in what a profile makes of a device is told by the line of the device', async (t) => {
  const { run, devices } = await project(t, {
    'app/profiles/acme.yaml':
      'variables: { base: 100, phase: L1 }\npoints: [{ name: "power_{phase}", address: "{base} + 4", type: float32 }]\n',
    'wrong.csv': `device_id,host,port,profile
good,10.0.0.5,502,acme
far,10.0.0.6,502,"{""name"": ""acme"", ""variables"": {""base"": 70000}}"
level,10.0.0.7,502,"{""name"": ""acme"", ""variables"": {""phase"": ""a/b""}}"
strange,10.0.0.8,502,"{""name"": ""acme"", ""variables"": {""constructor"": 1}}"
`,
  })
  const { code, err } = await run('device:import', 'wrong.csv')
  assert.equal(code, 5)
  assert.match(err, /wrong\.csv:3: points\.0\.address: /)
  assert.match(err, /wrong\.csv:4: points\.0\.name: must not contain/)
  assert.match(err, /wrong\.csv:5: profile: profile acme has no variable constructor/)
  assert.match(err, /Nothing was imported: 3 mistakes/)
  assert.deepEqual(await devices(), [])
})

test('files that are no plant: aliases that would fill the memory, what is no text', async (t) => {
  const level = (name: string, of: string) => `${name}: &${name} [${Array(9).fill(`*${of}`).join(', ')}]\n`
  const { root, run } = await project(t, {
    'bomb.yaml': `a: &a [x, x, x]\n${level('b', 'a')}${level('c', 'b')}${level('d', 'c')}devices:\n  - { device_id: z, host: h, port: 1, options: *d }\ntargets: [{ device_id: z, address: 1, options: *d }]\n`,
  })
  writeFileSync(join(root, 'bytes.yaml'), randomBytes(20_000))
  const bomb = await run('device:import', 'bomb.yaml')
  assert.deepEqual([bomb.code, bomb.err.match(/bomb\.yaml:\d+: Excessive alias count/g)?.length], [5, 2], bomb.err)
  const bytes = await run('device:import', 'bytes.yaml')
  assert.equal(bytes.code, 5)
  assert.doesNotMatch(bytes.err, /[^\P{Cc}\n\t]/u, 'nothing that drives a terminal')
  for (const line of bytes.err.split('\n')) assert.ok(line.length < 400, `${line.length} characters`)
})

test('a profile in the application file', async (t) => {
  const root = folder(t, {
    'package.json': '{"type":"module"}',
    'app/profiles/acme.json': '{"points":[{"name":"mode","address":3}]}',
    'app/devices.ts': `export default { devices: [{ device_id: 'm1', host: '10.0.0.5', port: 502, profile: 'acme' }], targets: [] }`,
  })
  const listed = await command(root, ['device:list', '--json'], { DATABASE_URL: 'none' })
  const [device] = JSON.parse(listed.out || listed.err) as DeviceRecord[]
  assert.deepEqual(device?.points, [{ name: 'mode', address: 3 }])
  assert.equal(device?.options.profile, 'acme')
})

test('no private key is shown, whether it is of the database or of the application file', async (t) => {
  const tls = { cert: 'CERT', key: 'SECRET', ca: 'CA' }
  const device = { device_id: 't', host: 'h', port: 802, transport: 'tls', framer: 'SOCKET', options: { tls } }
  const { root, run, devices, stored } = await project(t, { 'first.json': JSON.stringify([device]) })
  assert.equal((await run('device:import', 'first.json')).code, 0)
  assert.deepEqual((await devices())[0]!.options.tls, { ...tls, key: '[redacted]' })
  const exported = await run('device:export', 'plant.yaml', '--json')
  assert.deepEqual((JSON.parse(exported.out) as Record<string, unknown>).not_included, { private_keys: ['t'] })
  assert.equal((await run('device:export', 'points.csv', '--points')).err, '', 'nothing of it belongs there')
  const listed = await run('device:list')
  const planned = await run('device:plan', 't', '--json')
  for (const { out, err } of [exported, listed, planned]) assert.doesNotMatch(out + err, /SECRET/)
  writeFileSync(
    join(root, 'first.json'),
    JSON.stringify([{ ...device, options: { tls: { ...tls, key: '[redacted]' } } }]),
  )

  // The mark is taken for the key that it stands for, and for nothing where there is none.
  writeFileSync(
    join(root, 'listed.json'),
    JSON.stringify([{ device_id: 't', timeout: 5, options: (await devices())[0]!.options }]),
  )
  const again = await run('device:import', 'listed.json')
  assert.equal(again.out, '0 devices created, 1 changed', again.err)
  assert.deepEqual([(await stored())[0]!.timeout, (await stored())[0]!.options.tls], [5, tls])
  const marked = { ...device, device_id: 'u', options: { tls: { ...tls, key: '[redacted]' } } }
  writeFileSync(join(root, 'marked.json'), JSON.stringify([marked]))
  assert.match((await run('device:import', 'marked.json')).err, /options\.tls\.key: is \[redacted\], which stands for/)

  const file = folder(t, {
    'package.json': '{"type":"module"}',
    'app/devices.ts': `export default { devices: [${JSON.stringify(device)}], targets: [] }`,
  })
  const ofFile = await command(file, ['device:list', '--json'], { DATABASE_URL: 'none' })
  assert.match(ofFile.out, /"\[redacted\]"/, ofFile.err)
  assert.doesNotMatch(ofFile.out, /SECRET/)
})

test('what is exported, edited and imported again keeps the private key that no file shows', async (t) => {
  const device = { device_id: 't', host: 'h', port: 802, transport: 'tls', framer: 'SOCKET' }
  const tls = { cert: 'CERT', key: 'SECRET', ca: 'CA' }
  const first = JSON.stringify([{ ...device, options: { tls } }])
  const { root, run, stored: devices } = await project(t, { 'first.json': first })
  assert.equal((await run('device:import', 'first.json')).code, 0)
  for (const [at, name] of ['plant.yaml', 'plant.json', 'devices.csv'].entries()) {
    const exported = await run('device:export', name)
    assert.match(exported.err, /^Not in it are the private keys of t: /, 'what is left out is said')
    const text = readFileSync(join(root, name), 'utf8')
    assert.ok(!text.includes('SECRET'))
    writeFileSync(join(root, name), text.replace(/\bCA\b/, `CA${at}`))
    const back = await run('device:import', name)
    assert.equal(back.out, '0 devices created, 1 changed', back.err)
    const ca = `CA${at}`
    assert.deepEqual((await devices())[0]!.options.tls, { ...tls, ca }, name)
    writeFileSync(join(root, 'first.json'), first)
    await run('device:import', 'first.json')
  }
  // What names a key replaces it, and what leaves tls out takes all of it away.
  writeFileSync(join(root, 'first.json'), first.replace('SECRET', 'OTHER'))
  await run('device:import', 'first.json')
  assert.deepEqual((await devices())[0]!.options.tls, { ...tls, key: 'OTHER' })
  writeFileSync(join(root, 'first.json'), JSON.stringify([{ ...device, options: {} }]))
  await run('device:import', 'first.json')
  assert.deepEqual((await devices())[0]!.options, {})
})

test('a line of several devices gets other settings by export, edit and import', async (t) => {
  const line = ['a', 'b'].map((device_id, at) => ({ device_id, path: '/dev/ttyS0', slave_id: at + 1, baud_rate: 9600 }))
  const { root, run, devices } = await project(t, { 'first.json': JSON.stringify(line) })
  assert.equal((await run('device:import', 'first.json')).code, 0)
  for (const [name, from, to] of [
    ['plant.yaml', 'baud_rate: 9600', 'baud_rate: 19200'],
    ['devices.csv', ',19200,', ',38400,'],
  ] as const) {
    assert.equal((await run('device:export', name)).code, 0)
    writeFileSync(join(root, name), readFileSync(join(root, name), 'utf8').replaceAll(from, to))
    const back = await run('device:import', name)
    assert.equal(back.out.split(';')[0], '0 devices created, 2 changed', back.err)
  }
  assert.deepEqual(
    (await devices()).map(({ baud_rate }) => baud_rate),
    [38_400, 38_400],
  )
  writeFileSync(join(root, 'one.csv'), 'device_id,baud_rate\na,9600\n')
  const { code, err } = await run('device:import', 'one.csv')
  assert.equal(code, EXIT.refused)
  assert.match(err, /one\.csv:2: Device a wants .*ttyS0 with baud_rate 9600; it is baud_rate 38400 for device b/)
})

test('an overload is told by its line before anything is changed, while nothing runs too', async (t) => {
  const { run, devices, stored, audit } = await project(t, {
    'plant.yaml': `devices:
  - { device_id: slow, path: /dev/ttyS0, baud_rate: 1200 }
  - { device_id: demo, host: 127.0.0.1, port: 5020, options: { virtual: true } }
targets:
  - { device_id: demo, address: 0 }
  - { device_id: slow, address: 0, count: 10, interval_ms: 5000 }
  - { device_id: slow, address: 1000, count: 20, interval_ms: 200 }
`,
  })
  for (const args of [['--dry-run'], []]) {
    const { code, err } = await run('device:import', 'plant.yaml', ...args)
    assert.equal(code, EXIT.refused, err)
    assert.match(err, /plant\.yaml:7: BUS_LOAD_REFUSED: /)
    assert.deepEqual(await devices(), [])
  }
  const forced = await run('device:import', 'plant.yaml', '--force')
  assert.equal(forced.out, '2 devices created, 0 changed; 3 polling targets created, 0 changed', forced.err)
  assert.deepEqual((await audit()).map(({ action, actor }) => [action, actor.kind]).sort(), [
    ...Array(2).fill(['device.create', 'cli']),
    ...Array(3).fill(['target.create', 'cli']),
  ])
  const before = await stored()
  const again = await run('device:import', 'plant.yaml')
  assert.deepEqual([again.code, again.out], [0, 'Nothing to change: everything is as the file says'], again.err)
  assert.deepEqual([await stored(), (await audit()).length], [before, 5])
})
