import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { connectOptions, printableUrl } from '../../../core/mqtt/connect-options.js'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { PublishingLink } from '../../../core/mqtt/publishing-link.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { cleanUp, eventually, mqttConfig, needsMosquitto, startMosquitto, testLane, testLink, unique } from './kit.js'
import { startProxy } from './proxy.js'
import { startWebSocketBridge } from './websocket-bridge.js'

afterEach(cleanUp)

function withCode(code: string, text = /./) {
  return (error: unknown) => error instanceof RouteMQError && error.code === code && text.test(error.message)
}

test('MQTT 5 first, 3.1.1 where 5 is refused, and the version asked for where one is', async (t) => {
  const embedded = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  assert.equal((await testLink(embedded.url)).protocol, 4)
  await assert.rejects(testLink(embedded.url, { protocol: 5 }), withCode('BROKER_UNAVAILABLE', /MQTT 5/))
  await cleanUp()
  await embedded.close()
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  assert.equal((await testLink(mosquitto.url)).protocol, 5)
  assert.equal((await testLink(mosquitto.url, { protocol: 4 })).protocol, 4)
  await cleanUp()
  await mosquitto.stop()
})

test('a broker that closes without a word on MQTT 5 is spoken to in 3.1.1', async () => {
  const embedded = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const server = createServer((near) => {
    near.once('data', (first: Buffer) => {
      // Protocol level in CONNECT: fixed header, length, "MQTT", level.
      if (first[8] === 5) near.destroy()
      else {
        const far = connect(embedded.port, '127.0.0.1')
        far.write(first)
        near.pipe(far)
        far.pipe(near)
        near.on('error', () => far.destroy())
        far.on('error', () => near.destroy())
      }
    })
    near.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const link = await testLink(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`)
  assert.equal(link.protocol, 4)
  await link.publish('a/b', 'x')
  await cleanUp()
  server.close()
  await embedded.close()
})

test('first reconnect within 100 ms, and one connection each time', async () => {
  const embedded = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const proxy = await startProxy(embedded.port)
  const states: string[] = []
  const { lane } = testLane(proxy.url, ['a/b'], {
    protocol: 4,
    onState: (state) => states.push(state.name === 'waiting' ? `waiting ${state.retryInMs <= 100}` : state.name),
  })
  await lane.start()
  proxy.cut()
  await eventually(() => lane.stats().connections === 2 && lane.state.name === 'connected', 'a second connection')
  assert.equal(proxy.connections(), 2)
  assert.deepEqual(states, ['connecting', 'connected', 'waiting true', 'connecting', 'connected'])
  await cleanUp()
  await embedded.close()
})

test('while the broker is away it is tried again, soon at first', async () => {
  const waits: number[] = []
  const link = new PublishingLink({
    config: mqttConfig({ protocol: 5 }),
    url: 'mqtt://127.0.0.1:9',
    clientId: unique('c'),
    logger: silentLogger,
    random: () => 0,
    clock: {
      now: () => Date.now(),
      monotonic: () => performance.now(),
      after: (ms, run) => {
        const timer = setTimeout(run, Math.min(ms, 5))
        return () => clearTimeout(timer)
      },
    },
  })
  link.onState((state) => {
    if (state.name === 'waiting') waits.push(state.retryInMs)
  })
  link.start({ limitMs: 60_000, keepTrying: true }).catch(() => {})
  await eventually(() => waits.length >= 10, 'ten attempts')
  await link.stop()
  assert.deepEqual(waits.slice(0, 10), [100, 200, 400, 500, 500, 500, 500, 500, 500, 500])
})

test('credentials: accepted, refused at once with a reason, in the URL or in the configuration', async (t) => {
  if (!needsMosquitto(t)) return
  const folder = await mkdtemp(join(tmpdir(), 'routemq-passwd-'))
  const file = join(folder, 'passwd')
  await writeFile(file, '')
  execFileSync('mosquitto_passwd', ['-b', file, 'anna', 's3cret/@'], { stdio: 'ignore' })
  const broker = await startMosquitto(['allow_anonymous false', `password_file ${file}`])
  const anna = mqttConfig({ username: 'anna', password: 's3cret/@' })
  await (await testLink(broker.url, { config: anna })).publish('a/b', 'x')
  const inUrl = broker.url.replace('//', `//anna:${encodeURIComponent('s3cret/@')}@`)
  await (await testLink(inUrl)).publish('a/b', 'x')
  for (const protocol of [5, 4] as const) {
    const wrong = mqttConfig({ username: 'anna', password: 'wrong-secret', protocol })
    await assert.rejects(testLink(broker.url, { config: wrong }), (error: unknown) => {
      assert.ok(withCode('BROKER_UNAVAILABLE', /credentials/)(error), String(error))
      assert.ok(!JSON.stringify([error, String(error)]).includes('wrong-secret'))
      return true
    })
    const { lane } = testLane(broker.url, ['a/b'], { config: wrong })
    await assert.rejects(lane.start(), withCode('BROKER_UNAVAILABLE', /credentials/))
  }
  await cleanUp()
  await broker.stop()
  await rm(folder, { recursive: true })
})

test('TLS: a private CA and a client certificate; without them no connection', async (t) => {
  if (!needsMosquitto(t)) return
  const folder = await mkdtemp(join(tmpdir(), 'routemq-tls-'))
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore', cwd: folder })
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=Test CA',
    '-days',
    '2',
  )
  await writeFile(at('san'), 'subjectAltName=IP:127.0.0.1,DNS:localhost')
  for (const name of ['server', 'client']) {
    openssl(
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
    )
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-out',
      `${name}.crt`,
      '-days',
      '2',
      '-extfile',
      'san',
    )
  }
  const tlsLines = [
    `cafile ${at('ca.crt')}`,
    `certfile ${at('server.crt')}`,
    `keyfile ${at('server.key')}`,
    'require_certificate true',
  ]
  const broker = await startMosquitto(tlsLines)
  const url = broker.url.replace('mqtt:', 'mqtts:')
  const tls = { ca: at('ca.crt'), cert: at('client.crt'), key: at('client.key'), rejectUnauthorized: true }
  const { lane, texts } = testLane(url, ['a/b'], { config: mqttConfig({ tls }) })
  await lane.start()
  const link = await testLink(url, { config: mqttConfig({ tls }) })
  // Longer than a TLS record, so that messages lie across what arrives at once.
  const long = 'x'.repeat(30_000)
  for (let n = 0; n < 20; n += 1) await link.publish('a/b', `${n} ${long}`)
  await eventually(() => texts().length === 20, 'twenty messages')
  assert.deepEqual(
    texts(),
    Array.from({ length: 20 }, (_, n) => `${n} ${long}`),
  )
  const start = (changes: Partial<typeof tls>) =>
    new PublishingLink({
      config: mqttConfig({ tls: { rejectUnauthorized: true, ...changes } }),
      url,
      clientId: unique('c'),
      logger: silentLogger,
    }).start({ limitMs: 300 })
  await assert.rejects(start({}), withCode('BROKER_UNAVAILABLE'))
  await assert.rejects(start({ ca: tls.ca }), withCode('BROKER_UNAVAILABLE'))
  await assert.rejects(start({ ca: at('missing.crt') }), withCode('CONFIG_INVALID', /missing\.crt/))
  await cleanUp()
  await broker.stop()
  await rm(folder, { recursive: true })
})

test('WebSocket', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const bridge = await startWebSocketBridge(broker.port)
  const topic = unique('t')
  const { lane, texts } = testLane(bridge.url, [`${topic}/#`])
  await lane.start()
  const link = await testLink(bridge.url)
  await Promise.all(Array.from({ length: 50 }, (_, i) => link.publish(`${topic}/a`, String(i))))
  await eventually(() => texts().length === 50, '50 messages')
  assert.equal(await lane.leave(5_000), true)
  await cleanUp()
  await bridge.close()
  await broker.close()
})

test('a refused subscription names the filter and stops the start', async (t) => {
  if (!needsMosquitto(t)) return
  const folder = await mkdtemp(join(tmpdir(), 'routemq-acl-'))
  await writeFile(join(folder, 'acl'), 'topic readwrite allowed/#\ntopic readwrite routemq/#\n')
  for (const protocol of [5, 4] as const) {
    const broker = await startMosquitto([`acl_file ${join(folder, 'acl')}`])
    const { lane } = testLane(broker.url, ['allowed/x', 'secret/x'], { protocol })
    const outcome = lane.start()
    // mosquitto 2.0 grants filters and drops messages for plain ACLs; a refusal shows only where the broker makes one.
    await outcome.then(
      () => t.diagnostic(`mosquitto granted a filter that its ACL forbids (MQTT ${protocol})`),
      (error: unknown) => assert.ok(withCode('SUBSCRIPTION_REFUSED', /secret\/x/)(error), String(error)),
    )
    await cleanUp()
    await broker.stop()
  }
  await rm(folder, { recursive: true })
  const embedded = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const { lane } = testLane(embedded.url, ['allowed/x', '$share/a+b/secret/x'])
  await assert.rejects(lane.start(), withCode('SUBSCRIPTION_REFUSED', /secret\/x/))
  await cleanUp()
  await embedded.close()
})

test('mosquitto restarted: subscribed again after every CONNACK, plain subscriptions lose nothing', async (t) => {
  if (!needsMosquitto(t)) return
  const broker = await startMosquitto()
  const topic = unique('t')
  const { lane, texts } = testLane(broker.url, [`$share/g-${topic}/${topic}/shared`, `${topic}/plain`], { protocol: 5 })
  await lane.start()
  const link = await testLink(broker.url, { protocol: 5 })
  await link.publish(`${topic}/shared`, 's1')
  await link.publish(`${topic}/plain`, 'p1')
  await eventually(() => texts().length === 2, 'two messages')
  await broker.restart(100)
  await eventually(() => link.state.name === 'connected', 'the link')
  await link.publish(`${topic}/plain`, 'p2')
  await eventually(() => lane.state.name === 'connected' && lane.stats().connections === 2, 'the lane')
  await link.publish(`${topic}/shared`, 's2')
  await eventually(
    () => texts().includes('s2') && texts().includes('p2'),
    () => texts().join(),
  )
  await cleanUp()
  await broker.stop()
})

test('a URL that is none is refused with what to write; passwords are not repeated', () => {
  for (const url of ['localhost:1883', 'http://broker', 'mqtt://', 'nonsense']) {
    const request = {
      config: mqttConfig(),
      url,
      clientId: 'c',
      protocol: 5 as const,
      clean: true,
      sessionExpirySeconds: 0,
    }
    assert.throws(() => connectOptions(request), withCode('CONFIG_INVALID', /mqtt:\/\/host/), url)
  }
  assert.equal(printableUrl('mqtt://anna:secret@host:1'), 'mqtt://anna@host:1')
})

test('IPv6 hosts, default ports and paths', () => {
  const options = (url: string) =>
    connectOptions({ config: mqttConfig(), url, clientId: 'c', protocol: 5, clean: true, sessionExpirySeconds: 0 })
  assert.equal(options('mqtt://[::1]:99').host, '::1')
  assert.equal(options('mqtt://host').port, undefined)
  assert.equal(options('wss://host/mqtt?x=1').path, '/mqtt?x=1')
  assert.equal(options('ssl://host').protocol, 'mqtts')
})
