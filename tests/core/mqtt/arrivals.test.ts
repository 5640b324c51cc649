import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { IPublishPacket, MqttClient } from 'mqtt'
import { Arrivals, type ArrivalsOptions } from '../../../core/mqtt/arrivals.js'
import type { InboundMessage } from '../../../core/mqtt/message.js'
import { systemClock } from '../../../core/support/clock.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Arrivals over connections that a test makes, loses and speaks over; what is handed on waits to be settled. */
function bench(changes: Partial<ArrivalsOptions> = {}) {
  const handed: { message: InboundMessage; settle: () => void }[] = []
  const acknowledged: number[] = []
  const arrivals = new Arrivals({
    ownTopic: 'routemq/lane/x',
    maxPacketBytes: 1_048_576,
    window: { messages: 100, bytes: 64 * 1_048_576 },
    clock: systemClock,
    onMessage: (message, settle) => handed.push({ message, settle }),
    onMark: () => false,
    publishMark: () => {},
    onSettled: () => {},
    onResume: () => {},
    ...changes,
  })
  const connect = () => {
    const client = {
      options: { protocolVersion: 5 },
      streamBuilder: () => {},
      _sendPacket: () => {},
      stream: {
        write: (frames: Buffer) => {
          for (let at = 0; at < frames.length; at += 4) acknowledged.push(frames.readUInt16BE(at + 2))
        },
      },
    } as unknown as MqttClient
    arrivals.open(client, () => false)
    arrivals.freshness.connected(true, undefined)
    return (messageId: number, payload: Buffer, more: Partial<IPublishPacket> = {}) => {
      let taken = false
      const packet = { cmd: 'publish', topic: 'a/b', qos: 1, retain: false, dup: false, messageId, payload, ...more }
      client.handleMessage(packet as IPublishPacket, () => {
        taken = true
      })
      return taken
    }
  }
  return { arrivals, handed, acknowledged, connect }
}

const big = (number: number) => Buffer.alloc(200_000, number)

/** Sends so many large messages and settles all but the first, which holds back the acknowledgements of the others. */
function settleBehindTheFirst(kit: ReturnType<typeof bench>, count: number): WeakRef<Buffer>[] {
  const send = kit.connect()
  const payloads: WeakRef<Buffer>[] = []
  for (let id = 1; id <= count; id += 1) {
    const payload = big(id)
    payloads.push(new WeakRef(payload))
    assert.equal(send(id, payload), true)
  }
  for (const { settle } of kit.handed.splice(1)) settle()
  return payloads
}

test('a message that is done with leaves its bytes, although its acknowledgement waits for an earlier one', async () => {
  const kit = bench()
  const [, ...payloads] = settleBehindTheFirst(kit, 20)
  await turn()
  collect()
  assert.equal(payloads.filter((payload) => payload.deref() !== undefined).length, 0)
  assert.deepEqual([kit.arrivals.stats.inWindow, kit.arrivals.stats.bytes], [1, 200_003])
  assert.deepEqual(kit.acknowledged, [])
  kit.handed[0]!.settle()
  await turn()
  assert.deepEqual(
    kit.acknowledged,
    Array.from({ length: 20 }, (_, index) => index + 1),
  )
})

test('it is recognised all the same when it comes again over the next connection; another one under its id is not', () => {
  const kit = bench()
  settleBehindTheFirst(kit, 5)
  kit.arrivals.lost()
  const send = kit.connect()
  const dup = true
  for (const id of [1, 2, 3]) send(id, big(id), { dup })
  send(4, big(40), { dup })
  send(5, big(5), { dup, topic: 'a/c' })
  assert.equal(kit.arrivals.stats.rejoined, 3)
  assert.deepEqual(
    kit.handed.map(({ message: { topic, payload } }) => [topic, payload[0]]),
    [
      ['a/b', 1],
      ['a/b', 40],
      ['a/c', 5],
    ],
  )
})

/** As a packet comes that has so many bytes of user properties, tiny ones. */
function dressed(bytes: number): Pick<IPublishPacket, 'topic' | 'length' | 'properties'> {
  const userProperties = Object.fromEntries(
    Array.from({ length: bytes / 9 }, (_, n) => [String(n).padStart(4, '0'), '']),
  )
  const correlationData = Buffer.from('whose')
  return { topic: 'a/b', length: 2 + 3 + 2 + 3 + bytes + 10, properties: { userProperties, correlationData } }
}

test('properties count in the window for what they take in memory', () => {
  const kit = bench({ window: { messages: 100, bytes: 1_048_576 } })
  const send = kit.connect()
  const payload = Buffer.alloc(10)
  assert.equal(send(1, payload, dressed(63_000)), true)
  assert.ok(kit.arrivals.stats.bytes >= 8 * 63_000, String(kit.arrivals.stats.bytes))
  assert.equal(send(2, payload, dressed(63_000)), true)
  assert.equal(send(3, payload, dressed(63_000)), false, 'there is no room for a third')
  assert.equal(kit.handed.length, 2)
  for (const { message } of kit.handed) {
    assert.equal(message.withheld, undefined)
    assert.equal(Object.keys(message.properties.userProperties ?? {}).length, 7_000)
  }
  for (const { settle } of kit.handed) settle()
  assert.equal(kit.handed.length, 3)
  kit.handed[2]!.settle()
  assert.equal(kit.arrivals.stats.bytes, 0)
})

test('a message with more properties than anybody needs comes without them and its payload, to be refused', () => {
  const kit = bench()
  const send = kit.connect()
  assert.equal(send(1, Buffer.from('0123456789'), dressed(90_000)), true)
  const { message } = kit.handed[0]!
  assert.equal(message.withheld, 'PROPERTIES_TOO_LARGE')
  assert.equal(message.payload.length, 0)
  assert.equal(message.properties.userProperties, undefined)
  assert.equal(message.properties.correlationData?.toString(), 'whose', 'it can be answered')
  assert.equal(kit.arrivals.stats.bytes, dressed(90_000).length, 'what is left of the packet keeps all of its bytes')
})
