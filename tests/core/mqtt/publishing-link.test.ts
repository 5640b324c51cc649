import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import type { InboundMessage } from '../../../core/mqtt/message.js'
import { PublishingLink } from '../../../core/mqtt/publishing-link.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import {
  eventually,
  mqttConfig,
  needsMosquitto,
  onAllBrokersAtOnce,
  startMosquitto,
  testLane,
  testLink,
  unique,
} from './kit.js'
import { startProxy } from './proxy.js'

function withCode(code: string) {
  return (error: unknown) => error instanceof RouteMQError && error.code === code
}

/** What a publishing link promises, on every broker. */
onAllBrokersAtOnce('publishing link', ({ protocol, mosquitto }, broker) => {
  test('publishes with QoS 0, 1 and 2, retained, in order', async () => {
    const topic = unique('t')
    const { lane, messages, texts } = testLane(broker.url, [`${topic}/#`], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await link.publish(`${topic}/a`, '0', { qos: 0 })
    await link.publish(`${topic}/a`, '1')
    await link.publish(`${topic}/a`, Buffer.from('2'), { qos: 2 })
    await link.publish(`${topic}/a`, 'kept', { retain: true })
    await eventually(() => messages.length === 4, 'four messages')
    assert.deepEqual(texts(), ['0', '1', '2', 'kept'])
    const late = testLane(broker.url, [`${topic}/#`], { protocol })
    await late.lane.start()
    await eventually(() => late.messages.length === 1, 'the retained message')
    assert.equal(late.messages[0]!.retain, true)
    assert.equal(late.messages[0]!.fresh, false, 'a retained message may be of any age')
    await link.publish(`${topic}/a`, '', { retain: true })
  })

  test('a thousand publishes at once all arrive, once, in order', async () => {
    const topic = unique('t')
    const { lane, texts } = testLane(broker.url, [`${topic}/#`], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => link.publish(`${topic}/a`, String(i))))
    await eventually(
      () => texts().length >= 1_000,
      () => `1000, not ${texts().length}`,
    )
    assert.deepEqual(
      texts(),
      Array.from({ length: 1_000 }, (_, i) => String(i)),
    )
  })

  test('says online and, when stopped, offline; when cut off, the broker says offline', async () => {
    const topic = `routemq/${unique('c')}/status`
    const { lane, texts } = testLane(broker.url, [topic], { protocol })
    await lane.start()
    const status = { topic, online: 'online', offline: 'offline' }
    const first = await testLink(broker.url, { protocol, status })
    await eventually(() => texts().length === 1, 'online')
    await first.stop()
    await eventually(() => texts().length === 2, 'offline')
    const proxy = await startProxy(broker.port)
    const second = await testLink(proxy.url, { protocol, status })
    await eventually(() => texts().length === 3, 'online again')
    proxy.refuse(true)
    proxy.cut()
    await eventually(() => texts().length === 4, 'the last will')
    proxy.refuse(false)
    await eventually(() => texts().length === 5, 'online after the reconnect')
    assert.deepEqual(texts(), ['online', 'offline', 'online', 'offline', 'online'])
    await second.stop()
  })

  test('refuses topics nobody can publish on', async () => {
    const link = await testLink(broker.url, { protocol })
    for (const topic of ['', 'a/+', 'a/#', 'a\0b'])
      await assert.rejects(link.publish(topic, 'x'), withCode('TOPIC_INVALID'))
  })

  test('while the broker is away: QoS 0 is dropped and counted, QoS 1 is refused', async () => {
    const proxy = await startProxy(broker.port)
    const link = await testLink(proxy.url, { protocol })
    proxy.refuse(true)
    proxy.cut()
    await eventually(() => link.state.name !== 'connected', 'the loss')
    await link.publish('x/y', '1', { qos: 0 })
    assert.equal(link.stats().dropped, 1)
    await assert.rejects(link.publish('x/y', '1'), withCode('BROKER_UNAVAILABLE'))
    await assert.rejects(link.call('x/y', {}), withCode('BROKER_UNAVAILABLE'))
    proxy.refuse(false)
    await eventually(() => link.state.name === 'connected', 'the return')
    await link.publish('x/y', '1')
  })

  test('what was in flight when the connection went is sent again', async () => {
    const topic = unique('t')
    const proxy = await startProxy(broker.port)
    const { lane, texts } = testLane(broker.url, [`${topic}/#`], { protocol })
    await lane.start()
    const link = await testLink(proxy.url, { protocol })
    const all = Promise.all(Array.from({ length: 200 }, (_, i) => link.publish(`${topic}/a`, String(i))))
    await eventually(() => texts().length > 10, 'some')
    proxy.cut()
    await all
    await eventually(
      () => new Set(texts()).size === 200,
      () => `200, not ${new Set(texts()).size}`,
    )
  })

  test('gives what was in flight back when the broker stays away', async () => {
    const proxy = await startProxy(broker.port)
    const link = await testLink(proxy.url, { protocol, limits: { graceMs: 100, inFlight: 1 } })
    const publishes = Array.from({ length: 50 }, () => link.publish('x/y', 'x'.repeat(1_000)))
    proxy.refuse(true)
    proxy.cut()
    const outcomes = await Promise.allSettled(publishes)
    const refused = outcomes.filter((o) => o.status === 'rejected')
    assert.ok(refused.length > 0)
    for (const { reason } of refused) assert.ok(withCode('BROKER_UNAVAILABLE')(reason), String(reason))
  })

  test('refuses more than its bound instead of growing', async () => {
    const link = await testLink(broker.url, { protocol, limits: { inFlight: 1, waiting: 10 } })
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => link.publish('x/y', String(i))))
    const refused = outcomes.filter((o) => o.status === 'rejected')
    assert.equal(refused.length, 39)
    for (const { reason } of refused) assert.ok(withCode('PUBLISH_OVERLOADED')(reason))
    await link.publish('x/y', 'after')
  })

  test('call: publishes a request and resolves with the answer', async () => {
    const topic = unique('t')
    const asked: InboundMessage[] = []
    const answering = await testLink(broker.url, { protocol })
    const { lane } = testLane(broker.url, [`${topic}/+`], {
      protocol,
      handle: async (message, settle) => {
        asked.push(message)
        const request = JSON.parse(message.payload.toString())
        const { responseTopic, correlationData } = message.properties
        const answer = JSON.stringify({
          ...(request.request_id === undefined ? {} : { request_id: request.request_id }),
          ...(request.fail
            ? { error: { code: 'DEVICE_UNKNOWN', message: 'no such device' } }
            : { double: request.n * 2 }),
        })
        await answering.publish(responseTopic ?? `${message.topic}/response`, answer, {
          properties: correlationData === undefined ? {} : { correlationData },
        })
        settle()
      },
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => link.call(`${topic}/a`, { n })))
    assert.deepEqual(
      answers,
      Array.from({ length: 20 }, (_, n) => ({ double: n * 2 })),
    )
    assert.deepEqual(await link.call(`${topic}/a`, { n: 4, request_id: 'mine' }), { double: 8, request_id: 'mine' })
    await assert.rejects(link.call(`${topic}/a`, { fail: true }), withCode('DEVICE_UNKNOWN'))
    const started = performance.now()
    await assert.rejects(link.call(`${topic}/nobody/here`, {}, { timeout: 80 }), withCode('CALL_TIMEOUT'))
    assert.ok(performance.now() - started < 5_000)
    assert.equal(link.stats().calls, 0)
    assert.equal(asked[0]!.properties.responseTopic !== undefined, link.protocol === 5)
  })

  test('what is larger or deeper than any broker need take is refused, and the connection stays', async () => {
    const link = await testLink(broker.url, { protocol, config: mqttConfig({ protocol, maxPacketBytes: 1_000 }) })
    const tooLarge = [Buffer.alloc(1_001), 'x'.repeat(1_001), 'ü'.repeat(501)]
    for (const payload of tooLarge) {
      for (const qos of [0, 1] as const) {
        await assert.rejects(link.publish('x/y', payload, { qos }), withCode('PAYLOAD_TOO_LARGE'))
      }
    }
    await assert.rejects(link.call('x/y', { text: 'x'.repeat(1_001) }), withCode('PAYLOAD_TOO_LARGE'))
    const deepest = Array.from({ length: 200 }, () => 'x').join('/')
    await assert.rejects(link.publish(`${deepest}/x`, 'x'), withCode('TOPIC_INVALID'))
    await assert.rejects(link.call(`${deepest}/x`, {}), withCode('TOPIC_INVALID'))
    const since = link.state
    // The embedded broker takes half as many.
    await link.publish(mosquitto ? deepest : deepest.slice(0, 199), Buffer.alloc(1_000))
    await link.publish('x/y', 'ü'.repeat(500))
    assert.equal(link.state, since, 'still the same connection')
  })

  test('starting twice is starting once, and so is stopping', async () => {
    const link = await testLink(broker.url, { protocol })
    await Promise.all([link.start(), link.start()])
    await Promise.all([link.stop(), link.stop()])
    await link.stop()
    assert.equal(link.state.name, 'stopped')
    await assert.rejects(link.publish('x/y', '1'), withCode('SHUTTING_DOWN'))
  })
})

test('a broker that is not there: start is refused after its limit, and keepTrying goes on', async () => {
  const options = { config: mqttConfig(), url: 'mqtt://127.0.0.1:9', clientId: unique('c'), logger: silentLogger }
  const link = new PublishingLink(options)
  await assert.rejects(link.start({ limitMs: 100 }), withCode('BROKER_UNAVAILABLE'))
  assert.equal(link.state.name, 'stopped')
  const patient = new PublishingLink(options)
  await assert.rejects(patient.start({ limitMs: 100, keepTrying: true }), withCode('BROKER_UNAVAILABLE'))
  assert.ok(['waiting', 'connecting'].includes(patient.state.name))
  await patient.stop()
})

test('never asks more of a broker than its Receive Maximum', async (t) => {
  if (!needsMosquitto(t)) return
  const broker = await startMosquitto(['max_inflight_messages 3'])
  const link = await testLink(broker.url, { protocol: 5 })
  const client = await mqtt.connectAsync(broker.url, { protocolVersion: 5 })
  assert.equal(client.serverProperties?.receiveMaximum, 3)
  await client.endAsync()
  await Promise.all(Array.from({ length: 300 }, (_, i) => link.publish('x/y', String(i))))
  await link.stop()
  await broker.stop()
})

test('what the broker says it will not take is refused, and the connection stays', async (t) => {
  if (!needsMosquitto(t)) return
  const broker = await startMosquitto(['max_packet_size 10000'])
  const link = await testLink(broker.url, { protocol: 5 })
  await assert.rejects(link.publish('x/y', Buffer.alloc(20_000)), withCode('PAYLOAD_TOO_LARGE'))
  await link.publish('x/y', Buffer.alloc(5_000))
  await link.stop()
  // 3.1.1 cannot say so: the broker closes. One publish ends a bounded number of connections.
  const old = await testLink(broker.url, { protocol: 4 })
  await assert.rejects(old.publish('x/y', Buffer.alloc(20_000)), withCode('PUBLISH_REFUSED'))
  await eventually(() => old.state.name === 'connected', 'the link to work again')
  await old.publish('x/y', Buffer.alloc(5_000))
  await old.stop()
  await broker.stop()
})
