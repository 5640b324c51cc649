import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer } from 'node:net'
import { after, afterEach, before, describe, test } from 'node:test'
import fc from 'fast-check'
import mqtt, { type MqttClient } from 'mqtt'
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { eventually, unique } from './kit.js'

/** Bare clients: what is tested here is the broker alone. */
const clients = new Set<MqttClient>()

async function client(
  url: string,
  options: mqtt.IClientOptions & { silent?: boolean; onText?: (text: string) => void } = {},
) {
  const { silent, onText, ...rest } = options
  const made = mqtt.connect(url, { reconnectPeriod: 0, ...rest })
  clients.add(made)
  const texts: string[] = []
  made.handleMessage = (packet, done) => {
    texts.push(packet.payload.toString())
    onText?.(packet.payload.toString())
    if (!silent) done()
  }
  await new Promise<void>((resolve, reject) => {
    made.once('connect', () => resolve())
    made.once('error', reject)
  })
  return { client: made, texts }
}

afterEach(() => {
  for (const made of clients) made.end(true)
  clients.clear()
})

describe('embedded broker', () => {
  let broker: EmbeddedBroker
  before(async () => {
    broker = await startEmbeddedBroker({
      port: 0,
      mayMove: false,
      logger: silentLogger,
      limits: {
        outbound: { inFlight: 10, queued: 500, queuedBytes: 1e6, socketBytes: 100_000 },
        group: { queued: 300, queuedBytes: 1e6 },
        redealAfterMs: 100,
      },
    })
  })
  after(() => broker.close())

  test('listens on loopback only and tells its address', () => {
    assert.equal(broker.url, `mqtt://127.0.0.1:${broker.port}`)
    assert.equal(broker.moved, false)
  })

  test('deals shared messages round-robin, each to one member', async () => {
    const topic = unique('t')
    const members = await Promise.all([1, 2, 3].map(() => client(broker.url)))
    for (const { client: member } of members) await member.subscribeAsync(`$share/g/${topic}/+`, { qos: 1 })
    const other = await client(broker.url)
    await other.client.subscribeAsync(`$share/other/${topic}/+`, { qos: 1 })
    const publisher = await client(broker.url)
    for (let i = 0; i < 90; i += 1) await publisher.client.publishAsync(`${topic}/a`, String(i), { qos: 1 })
    const total = () => members.reduce((sum, { texts }) => sum + texts.length, 0)
    await eventually(() => total() === 90 && other.texts.length === 90, 'all messages')
    for (const { texts } of members) assert.equal(texts.length, 30)
    assert.equal(new Set(members.flatMap(({ texts }) => texts)).size, 90)
  })

  test('a member never holds more than its window; a group queue takes the rest, bounded, drops counted', async () => {
    const topic = unique('t')
    const silent = await client(broker.url, { silent: true })
    await silent.client.subscribeAsync(`$share/g/${topic}`, { qos: 1 })
    const publisher = await client(broker.url)
    const before = broker.stats().dropped
    for (let i = 0; i < 400; i += 1) await publisher.client.publishAsync(topic, String(i), { qos: 1 })
    await eventually(
      () => broker.stats().dropped === before + 90,
      () => `${broker.stats().dropped - before} dropped`,
    )
    const helper = await client(broker.url)
    await helper.client.subscribeAsync(`$share/g/${topic}`, { qos: 1 })
    await eventually(
      () => helper.texts.length === 300,
      () => `${helper.texts.length} dealt to the new member`,
    )
    assert.deepEqual(
      helper.texts,
      Array.from({ length: 300 }, (_, i) => String(i + 10)),
      'in order',
    )
  })

  test('messages of a member that vanished are dealt to the others', async () => {
    const topic = unique('t')
    for (const clean of [true, false]) {
      const dead = await client(broker.url, { silent: true, clientId: unique('dead'), clean })
      await dead.client.subscribeAsync(`$share/g${clean}/${topic}`, { qos: 1 })
      const publisher = await client(broker.url)
      for (let i = 0; i < 30; i += 1) await publisher.client.publishAsync(topic, String(i), { qos: 1 })
      const alive = await client(broker.url)
      await alive.client.subscribeAsync(`$share/g${clean}/${topic}`, { qos: 1 })
      await eventually(
        () => alive.texts.length === 20,
        () => `${alive.texts.length} from the group's queue`,
      )
      dead.client.end(true)
      await eventually(
        () => alive.texts.length === 30,
        () => `${alive.texts.length} with those of the dead (clean ${clean})`,
      )
      assert.equal(new Set(alive.texts).size, 30)
      if (clean) continue
      await alive.client.endAsync()
      const back = await client(broker.url, { clientId: dead.client.options.clientId!, clean: true })
      await back.client.endAsync()
    }
  })

  test('a subscriber that stops reading freezes nobody, and its queue is bounded', async () => {
    const topic = unique('t')
    const stuck = await client(broker.url, { silent: true })
    await stuck.client.subscribeAsync(topic, { qos: 0 })
    const reader = await client(broker.url)
    await reader.client.subscribeAsync(topic, { qos: 1 })
    const publisher = await client(broker.url)
    const payload = Buffer.alloc(10_000)
    for (let i = 0; i < 1_500; i += 1) await publisher.client.publishAsync(topic, payload, { qos: 1 })
    await eventually(
      () => reader.texts.length === 1_500,
      () => `${reader.texts.length} of 1500`,
    )
    assert.ok(broker.stats().queued <= 500, `${broker.stats().queued} wait`)
    assert.ok(broker.stats().dropped > 0)
  })

  test('a persistent session keeps QoS 1 messages in order across a reconnect, unacknowledged ones as duplicates', async () => {
    const topic = unique('t')
    const clientId = unique('c')
    await eventually(() => broker.stats().clients === 0, 'the clients of other tests to be gone')
    const { inFlight } = broker.stats()
    const first = await client(broker.url, { clientId, clean: false, silent: true })
    await first.client.subscribeAsync(topic, { qos: 1 })
    const publisher = await client(broker.url)
    for (let i = 0; i < 5; i += 1) await publisher.client.publishAsync(topic, String(i), { qos: 1 })
    await eventually(() => broker.stats().inFlight === inFlight + 5, 'messages on the wire')
    first.client.end(true)
    await eventually(() => broker.stats().clients === 1, 'the broker to notice that it went')
    for (let i = 5; i < 60; i += 1) await publisher.client.publishAsync(topic, String(i), { qos: 1 })
    await publisher.client.publishAsync(topic, 'qos 0 is not kept', { qos: 0 })
    const dups: boolean[] = []
    const second = mqtt.connect(broker.url, { clientId, clean: false, reconnectPeriod: 0 })
    clients.add(second)
    const texts: string[] = []
    second.on('message', (_topic, payload, packet) => {
      texts.push(payload.toString())
      dups.push(packet.dup)
    })
    await eventually(
      () => texts.length === 60,
      () => `${texts.length} of 60`,
    )
    assert.deepEqual(
      texts,
      Array.from({ length: 60 }, (_, i) => String(i)),
    )
    assert.deepEqual(dups.slice(0, 6), [true, true, true, true, true, false])
    await second.endAsync()
    const fresh = mqtt.connect(broker.url, { clientId, clean: true, reconnectPeriod: 0 })
    clients.add(fresh)
    const [connack] = await new Promise<[mqtt.IConnackPacket]>((resolve) => fresh.once('connect', (c) => resolve([c])))
    assert.equal(connack.sessionPresent, false)
  })

  test('one copy a client where its filters overlap, at the highest QoS', async () => {
    const topic = unique('t')
    for (const clean of [true, false]) {
      const { client: subscriber, texts } = await client(broker.url, { clientId: unique('c'), clean })
      await subscriber.subscribeAsync({
        [`${topic}/#`]: { qos: 0 },
        [`${topic}/+`]: { qos: 1 },
        [`${topic}/a`]: { qos: 1 },
      })
      const publisher = await client(broker.url)
      for (let i = 0; i < 20; i += 1)
        await publisher.client.publishAsync(`${topic}/a`, String(i), { qos: i % 2 ? 1 : 0 })
      // Copies of what was published before it come before it.
      await publisher.client.publishAsync(`${topic}/a`, 'end', { qos: 1 })
      await eventually(() => texts.includes('end'), 'the end')
      const expected = [...Array.from({ length: 20 }, (_, i) => String(i)), 'end']
      assert.deepEqual([...texts].sort(), expected.sort(), `clean ${clean}`)
    }
  })

  test('QoS 2 to and from a client', async () => {
    const topic = unique('t')
    const subscriber = await client(broker.url)
    await subscriber.client.subscribeAsync(topic, { qos: 2 })
    const publisher = await client(broker.url)
    await Promise.all(Array.from({ length: 50 }, (_, i) => publisher.client.publishAsync(topic, String(i), { qos: 2 })))
    await eventually(
      () => subscriber.texts.length === 50,
      () => `${subscriber.texts.length}`,
    )
    assert.equal(new Set(subscriber.texts).size, 50)
    await eventually(() => broker.stats().inFlight === 0, 'all handshakes done')
  })

  test('a malformed share is refused, "$" topics are the broker\'s own', async () => {
    const { client: subscriber } = await client(broker.url)
    for (const filter of ['$share/g', '$share//x', '$share/a+b/x', '$share/g/a#']) {
      const [granted] = await subscriber.subscribeAsync(filter, { qos: 1 }).catch(() => [{ qos: 128 }])
      assert.equal(granted?.qos, 128, filter)
    }
    const publisher = await client(broker.url)
    const closed = new Promise<void>((resolve) => publisher.client.once('close', () => resolve()))
    publisher.client.publish('$share/g/x', 'x')
    await closed
  })

  test('what is waiting in a group is not overtaken by the mark of a lane', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const own = `routemq/lane/${clientId}`
    const acks: (() => void)[] = []
    const lane = mqtt.connect(broker.url, { clientId, clean: false, reconnectPeriod: 0 })
    clients.add(lane)
    const texts: string[] = []
    lane.handleMessage = (packet, done) => {
      texts.push(packet.payload.toString())
      acks.push(done)
    }
    await new Promise((resolve) => lane.once('connect', resolve))
    const subscribed = lane.subscribeAsync([own, `$share/g/${topic}`], { qos: 1 })
    await subscribed
    const publisher = await client(broker.url)
    for (let i = 0; i < 20; i += 1) await publisher.client.publishAsync(topic, String(i), { qos: 1 })
    await publisher.client.publishAsync(own, 'mark', { qos: 1 })
    while (texts.length < 21) {
      await eventually(
        () => acks.length > 0,
        () => `a message after ${texts.length}`,
      )
      acks.shift()!()
    }
    assert.equal(texts.at(-1), 'mark')
    await lane.endAsync(true)
  })
})

test('garbage on the wire ends that connection and nothing else', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const good = await client(broker.url)
  await good.client.subscribeAsync('a/b', { qos: 1 })
  const connectFrame = Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 1, 0x78])
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.boolean(), async (bytes, connected) => {
      const socket = connect(broker.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.end(Buffer.concat([...(connected ? [connectFrame] : []), bytes]))
      await new Promise<void>((resolve) => {
        const limit = setTimeout(() => socket.destroy(), 20) // half a packet is waited for
        socket.once('close', () => {
          clearTimeout(limit)
          resolve()
        })
        socket.resume()
      })
    }),
    { numRuns: 150 },
  )
  await good.client.publishAsync('a/b', 'still here', { qos: 1 })
  await eventually(() => good.texts.length === 1, 'the message')
  await good.client.endAsync()
  await broker.close()
})

test('a taken port: moves where it may, PORT_IN_USE where it may not', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as AddressInfo
  const options = { port, logger: silentLogger }
  await assert.rejects(startEmbeddedBroker({ ...options, mayMove: false }), (error: unknown) => {
    assert.ok(error instanceof RouteMQError && error.code === 'PORT_IN_USE' && error.message.includes(String(port)))
    return true
  })
  const broker = await startEmbeddedBroker({ ...options, mayMove: true })
  assert.equal(broker.moved, true)
  assert.notEqual(broker.port, port)
  await Promise.all([broker.close(), broker.close()])
  await new Promise((resolve) => taken.close(resolve))
})

test('sessions of clients that stay away end after their time', async () => {
  let now = 0
  const timers: { at: number; run: () => void }[] = []
  const clock = {
    now: () => Date.now(),
    monotonic: () => now,
    after(ms: number, run: () => void) {
      const timer = { at: now + ms, run }
      timers.push(timer)
      return () => timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0)
    },
  }
  const broker = await startEmbeddedBroker({
    port: 0,
    mayMove: false,
    logger: silentLogger,
    clock,
    limits: { sessionExpiryMs: 100_000 },
  })
  const { client: away } = await client(broker.url, { clientId: unique('c'), clean: false })
  await away.subscribeAsync(['a/b', '$share/g/a/c'], { qos: 1 })
  await away.endAsync()
  await eventually(() => broker.stats().clients === 0, 'the client to be away')
  assert.deepEqual([broker.stats().sessions, broker.stats().groups], [1, 1])
  for (now = 60_000; now <= 180_000; now += 60_000) for (const timer of timers.splice(0)) timer.run()
  assert.deepEqual([broker.stats().sessions, broker.stats().groups], [0, 0])
  await broker.close()
})
