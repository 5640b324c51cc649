import assert from 'node:assert/strict'
import { PassThrough, Writable } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import type { IPublishPacket, MqttClient } from 'mqtt'
import mqttPacket from 'mqtt-packet'
import { readPublish } from '../../../core/mqtt/publish-packet.js'
import { readPublishes } from '../../../core/mqtt/publish-reader.js'

const text = (max = 12) => fc.string({ unit: 'grapheme', maxLength: max })
// The library forgets an empty value that comes again under the same name; that is tested apart.
const value = text().filter((written) => written !== '')
const properties = fc.record(
  {
    payloadFormatIndicator: fc.boolean(),
    messageExpiryInterval: fc.integer({ min: 1, max: 0xffff_ffff }),
    contentType: value,
    responseTopic: value,
    correlationData: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    subscriptionIdentifier: fc.integer({ min: 1, max: 268_435_455 }),
    userProperties: fc.dictionary(text(), fc.oneof(value, fc.array(value, { minLength: 2, maxLength: 3 })), {
      minKeys: 1,
    }),
  },
  { requiredKeys: [] },
)
const publish = fc.record({
  topic: value,
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.boolean(),
  dup: fc.boolean(),
  messageId: fc.integer({ min: 1, max: 65_535 }),
  properties: fc.option(properties, { nil: undefined }),
})

function encode(packet: object, protocolVersion: 4 | 5): Buffer {
  return mqttPacket.generate({ cmd: 'publish', ...packet } as never, { protocolVersion })
}

/** What the library makes of the same bytes. */
function byLibrary(bytes: Buffer, protocolVersion: 4 | 5): unknown {
  let found: unknown
  const parser = mqttPacket.parser({ protocolVersion })
  parser.on('packet', (packet) => {
    found = packet
  })
  parser.on('error', () => {})
  parser.parse(bytes)
  return found
}

/** The parts that anybody looks at, in one form. */
function seen(packet: IPublishPacket) {
  const { topic, payload, qos, retain, dup, properties: { userProperties, ...rest } = {} } = packet
  return {
    topic,
    payload: payload.toString('hex'),
    qos,
    retain,
    dup,
    messageId: qos > 0 ? packet.messageId : undefined,
    properties: JSON.stringify([Object.entries(rest).sort(), Object.entries(userProperties ?? {}).sort()]),
  }
}

test('reads what the library reads, and leaves QoS 2 to it (fast-check)', () => {
  fc.assert(
    fc.property(publish, fc.constantFrom(4 as const, 5 as const), (packet, protocol) => {
      const bytes = encode(packet, protocol)
      const ours = readPublish(bytes, 0, bytes.length, protocol)
      if (packet.qos === 2) return assert.equal(ours, undefined)
      assert.deepEqual(seen(ours!), seen(byLibrary(bytes, protocol) as IPublishPacket))
    }),
    { numRuns: 2_000 },
  )
})

test('user properties keep every value of a name, empty ones and names of prototypes too', () => {
  const userProperties = { a: ['', '1', ''], constructor: 'y' }
  Object.defineProperty(userProperties, '__proto__', { value: 'x', enumerable: true })
  const bytes = encode({ topic: 't', payload: '', qos: 0, properties: { userProperties } }, 5)
  const found = readPublish(bytes, 0, bytes.length, 5)?.properties?.userProperties
  assert.deepEqual(Object.entries(found ?? {}), [
    ['a', ['', '1', '']],
    ['constructor', 'y'],
    ['__proto__', 'x'],
  ])
})

test('of more than 64 KiB of properties those of users are not made; what tells where it belongs is', () => {
  const rest = { subscriptionIdentifier: 7, responseTopic: 'a/response', correlationData: Buffer.from('x') }
  const read = (count: number) => {
    const userProperties = Object.fromEntries(Array.from({ length: count }, (_, n) => [`name ${n}`, 'value']))
    const bytes = encode({ topic: 't', payload: 'p', qos: 0, properties: { ...rest, userProperties } }, 5)
    const packet = readPublish(bytes, 0, bytes.length, 5)!
    assert.equal(packet.length, (byLibrary(bytes, 5) as IPublishPacket).length)
    return packet
  }
  assert.equal(Object.keys(read(3_000).properties?.userProperties ?? {}).length, 3_000)
  const { payload, properties } = read(10_000)
  assert.deepEqual({ ...properties }, rest)
  assert.equal(payload.toString(), 'p')
})

test('never reads beyond a packet, whatever its bytes say (fast-check)', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 2, maxLength: 60 }),
      fc.constantFrom(0x30, 0x31, 0x32, 0x33, 0x3b),
      fc.constantFrom(4, 5),
      (body, head, protocol) => {
        // Behind the packet lie bytes of the next: they must not leak into this one.
        const bytes = Buffer.concat([Buffer.from([head, body.length]), body, Buffer.alloc(80, 0x41)])
        const end = 2 + body.length
        const packet = readPublish(bytes, 0, end, protocol)
        if (packet === undefined) return
        const alone = readPublish(Buffer.from(bytes.subarray(0, end)), 0, end, protocol)
        assert.deepEqual(packet, alone)
        assert.ok(packet.topic.length <= body.length && packet.payload.length <= body.length)
      },
    ),
    { numRuns: 5_000 },
  )
})

test('a topic alias, a zero packet id, an empty topic, a repeated or unknown property are for the library', () => {
  const of = (...body: number[]) => {
    const bytes = Buffer.from([0x32, body.length, ...body])
    return readPublish(bytes, 0, bytes.length, 5)
  }
  assert.equal(of(0, 1, 97, 0, 1, 0)?.topic, 'a')
  assert.equal(of(0, 1, 97, 0, 0, 0), undefined, 'packet id 0')
  assert.equal(of(0, 0, 0, 1, 0), undefined, 'no topic')
  assert.equal(of(0, 1, 97, 0, 1, 3, 0x23, 0, 1), undefined, 'a topic alias')
  assert.equal(of(0, 1, 97, 0, 1, 4, 0x01, 1, 0x01, 1), undefined, 'twice the same property')
  assert.equal(of(0, 1, 97, 0, 1, 2, 0x11, 0), undefined, 'a property of other packets')
  assert.equal(of(0, 1, 97, 0, 1, 9, 0x01, 1), undefined, 'properties longer than the packet')
  assert.equal(of(0, 9, 97, 0, 1), undefined, 'a topic longer than the packet')
})

/** A client without a broker: what its stream brings, in the order in which somebody gets it. */
function harness(protocolVersion: 4 | 5 = 4, maximumPacketSize?: number, isAnswerDue = () => false) {
  const order: string[] = []
  const waiting: (() => void)[] = []
  const stream = new PassThrough()
  const library = new Writable({
    write(bytes: Buffer, _encoding, done) {
      order.push(`library ${bytes.toString('hex')}`)
      setImmediate(done)
    },
  })
  const client = {
    options: { protocolVersion, properties: { maximumPacketSize } },
    streamBuilder: () => stream,
  } as unknown as MqttClient
  let held = false
  const take = (packet: IPublishPacket, next: () => void) => {
    order.push(`${packet.topic} ${packet.payload}`)
    if (held) waiting.push(next)
    else next()
  }
  readPublishes(client, take, isAnswerDue)
  ;(client as unknown as { streamBuilder(client: MqttClient): PassThrough }).streamBuilder(client).pipe(library)
  return {
    order,
    stream,
    library,
    hold: () => {
      held = true
    },
    release: () => waiting.shift()?.(),
  }
}

const turns = async () => {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
const PINGRESP = Buffer.from([0xd0, 0])
const message = (n: number, size = 3) => encode({ topic: `t/${n}`, payload: String(n).repeat(size), qos: 0 }, 4)

test('messages and other packets keep their order however the bytes are cut (fast-check)', async () => {
  const frames = [message(1), message(2), PINGRESP, message(3, 200), PINGRESP, PINGRESP, message(4, 20_000), message(5)]
  const stream = Buffer.concat(frames)
  const expected = [1, 2, 'ping', 3, 'ping', 'ping', 4, 5].map((what) => {
    if (what === 'ping') return 'library d000'
    return `t/${what} ${String(what).repeat(what === 3 ? 200 : what === 4 ? 20_000 : 3)}`
  })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(stream.length), { maxLength: 30 }), async (cuts) => {
      const { order, stream: socket } = harness()
      let from = 0
      for (const to of [...cuts.sort((one, other) => one - other), stream.length]) {
        socket.write(stream.subarray(from, to))
        from = to
      }
      socket.end()
      for (let wait = 0; order.length < expected.length && wait < 1_000; wait += 1) await turns()
      assert.deepEqual(order, expected)
    }),
    { numRuns: 100 },
  )
})

test('one message at a time: nothing is read on before the taker of the last calls back', async () => {
  const { order, stream, hold, release } = harness()
  hold()
  for (let n = 1; n <= 3; n += 1) stream.write(message(n))
  await turns()
  assert.deepEqual(order, ['t/1 111'])
  assert.equal(stream.isPaused(), true, 'the sender feels it')
  release()
  await turns()
  assert.deepEqual(order, ['t/1 111', 't/2 222'])
  release()
  release()
  await turns()
  assert.equal(order.length, 3)
})

test('while an answer is due it is read past a message that waits, once, and messages keep their order (fast-check)', async () => {
  const SUBACK = Buffer.from([0x90, 3, 0, 1, 1])
  const frames = [message(1), message(2), PINGRESP, message(3, 200), SUBACK, message(4, 20_000), PINGRESP, message(5)]
  const bytes = Buffer.concat(frames)
  const messages = [1, 2, 3, 4, 5].map((n) => `t/${n} ${String(n).repeat(n === 3 ? 200 : n === 4 ? 20_000 : 3)}`)
  const answers = ['library d000', 'library 9003000101', 'library d000']
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 30 }), fc.boolean(), async (cuts, stays) => {
      let isDue = true
      const { order, stream, hold, release } = harness(4, undefined, () => isDue)
      hold()
      let from = 0
      for (const to of [...cuts.sort((one, other) => one - other), bytes.length]) {
        stream.write(bytes.subarray(from, to))
        from = to
      }
      for (let wait = 0; order.length < 4 && wait < 1_000; wait += 1) await turns()
      assert.deepEqual(order, [messages[0], ...answers], 'all answers, while the first message waits')
      isDue = stays
      for (let wait = 0; order.length < 8 && wait < 1_000; wait += 1) {
        release()
        await turns()
      }
      release()
      await turns()
      assert.deepEqual(order, [messages[0], ...answers, ...messages.slice(1)])
    }),
    { numRuns: 100 },
  )
})

test('what is read ahead has a bound, and the sender feels it', async () => {
  const { stream, hold } = harness(4, undefined, () => true)
  hold()
  for (let n = 0; n < 6; n += 1) {
    stream.write(message(1, 1_048_576))
    await turns()
  }
  assert.equal(stream.isPaused(), true)
})

test('what is no MQTT ends the connection; what is larger than was allowed goes to the library, which ends it', async () => {
  const broken = harness()
  const said: string[] = []
  broken.stream.on('error', ({ message }) => said.push(message))
  broken.stream.write(Buffer.concat([message(1), Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])]))
  await turns()
  assert.deepEqual(broken.order, ['t/1 111'])
  assert.deepEqual([said, broken.stream.destroyed], [['the broker sent something that is no MQTT'], true])
  const large = harness(5, 40)
  large.stream.write(encode({ topic: 'a', payload: 'x'.repeat(60), qos: 0 }, 5))
  await turns()
  assert.match(large.order.join(), /^library 30/)
})

test('the end of the stream is the end for the library too', async () => {
  const { stream, library } = harness()
  stream.end()
  await turns()
  assert.equal(library.writableEnded, true)
})
