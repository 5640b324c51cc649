import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { Outbox } from '../../../core/mqtt/outbox.js'
import { decodeEntry, encodeEntry } from '../../../core/mqtt/outbox-entry.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { cleanUp, eventually, testLane, testLink, unique } from './kit.js'
import { folder, openOutbox, publication } from './outbox-kit.js'
import { startProxy } from './proxy.js'

afterEach(cleanUp)

test('keeps what is published while the broker is away, across a restart, and replays it in order', async () => {
  const first = await openOutbox()
  for (let i = 0; i < 200; i += 1) await first.outbox.put(publication('a/b', String(i)))
  assert.equal(first.outbox.size, 200)
  await first.close()
  const second = await openOutbox(first.dir)
  assert.equal(second.outbox.size, 200)
  const sent: string[] = []
  second.outbox.online(async ({ payload }) => void sent.push(payload.toString()))
  await eventually(() => second.outbox.size === 0, 'an empty outbox')
  assert.deepEqual(
    sent,
    Array.from({ length: 200 }, (_, i) => String(i)),
  )
  await second.close()
  const third = await openOutbox(first.dir)
  assert.equal(third.outbox.size, 0, 'what was replayed is gone')
  await third.close()
})

test('an entry that the broker did not take stays, with all behind it', async () => {
  const { outbox, close } = await openOutbox()
  for (let i = 0; i < 10; i += 1) await outbox.put(publication('a/b', String(i)))
  let failing = true
  const sent: string[] = []
  outbox.online(async ({ payload }) => {
    if (failing && Number(payload) >= 4) throw new RouteMQError('BROKER_UNAVAILABLE', 'gone')
    sent.push(payload.toString())
  })
  await eventually(
    () => outbox.size === 6,
    () => `6, not ${outbox.size}`,
  )
  failing = false
  outbox.online(async ({ payload }) => void sent.push(payload.toString()))
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(
    sent,
    Array.from({ length: 10 }, (_, i) => String(i)),
  )
  await close()
})

test('what the broker refuses for good does not block the rest', async () => {
  const { outbox, close } = await openOutbox()
  await outbox.put(publication('forbidden', 'x'))
  await outbox.put(publication('a/b', 'y'))
  const sent: string[] = []
  outbox.online(async ({ topic, payload }) => {
    if (topic === 'forbidden') throw new RouteMQError('FORBIDDEN', 'not allowed')
    sent.push(payload.toString())
  })
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(sent, ['y'])
  assert.equal(outbox.stats().refused, 1)
  await close()
})

test('at the bound the publish is refused and nothing is lost', async () => {
  const { outbox, close } = await openOutbox(undefined, 4_000)
  let taken = 0
  for (;;) {
    try {
      await outbox.put(publication('a/b', 'x'.repeat(500)))
      taken += 1
    } catch (error) {
      assert.ok(error instanceof RouteMQError && error.code === 'PUBLISH_OVERLOADED', String(error))
      break
    }
  }
  assert.ok(taken >= 5, String(taken))
  let sent = 0
  outbox.online(async () => {
    sent += 1
  })
  await eventually(() => sent === taken, 'all that was taken')
  await close()
})

test('replies expire: nobody waits for them any more', async () => {
  let now = 1_000_000
  const spool = await Spool.open({ dir: join(folder, unique('spool')), maxBytes: 100_000 })
  const clock = { now: () => now, monotonic: () => performance.now(), after: () => () => {} }
  const outbox = new Outbox({ spool, logger: silentLogger, clock })
  await outbox.put(publication('a/response', 'late', { expiresInMs: 5_000 }))
  await outbox.put(publication('a/response', 'in time', { expiresInMs: 50_000 }))
  await outbox.put(publication('a/value', 'never'))
  now += 6_000
  const sent: string[] = []
  outbox.online(async ({ payload }) => void sent.push(payload.toString()))
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(sent, ['in time', 'never'])
  assert.equal(outbox.stats().expired, 1)
  await outbox.stop()
  await spool.close()
})

test('a value that waits does not come after what was published to its topic later', async () => {
  const { outbox, close } = await openOutbox()
  await outbox.put(publication('a', 'old', { newestOnly: true, retain: true }))
  await outbox.put(publication('b', 'stays', { newestOnly: true }))
  await outbox.put(publication('a', '', { retain: true }))
  const sent: string[] = []
  outbox.online(async ({ topic, payload }) => void sent.push(`${topic}=${payload}`))
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(sent, ['a=', 'b=stays'])
  assert.equal(outbox.stats().superseded, 1)
  await close()
})

test('of newestOnly values the newest of each topic is kept, bounded by the number of topics', async () => {
  const spool = await Spool.open({ dir: join(folder, unique('spool')), maxBytes: 100_000 })
  const outbox = new Outbox({ spool, logger: silentLogger, maxNewest: 3 })
  for (let i = 0; i < 10; i += 1) {
    for (const topic of ['a', 'b']) await outbox.put(publication(topic, String(i), { newestOnly: true }))
  }
  await outbox.put(publication('c', 'x', { newestOnly: true }))
  await outbox.put(publication('d', 'x', { newestOnly: true }))
  const sent: string[] = []
  outbox.online(async ({ topic, payload }) => void sent.push(`${topic} ${payload}`))
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(sent, ['b 9', 'c x', 'd x'], 'the topic that was silent longest goes first')
  await outbox.stop()
  await spool.close()
})

test('an entry survives the way through its bytes', () => {
  const whole = {
    topic: 'a/ü',
    payload: Buffer.from([0, 1, 2, 255]),
    options: {
      qos: 2 as const,
      retain: true,
      properties: {
        responseTopic: 'a/b/c/response',
        correlationData: Buffer.from([9, 0, 8]),
        contentType: 'application/cbor',
        messageExpiryInterval: 5,
        userProperties: { one: '1', many: ['a', 'b'] },
      },
    },
  }
  assert.deepEqual(decodeEntry(encodeEntry(whole, 42)), { publication: whole, expiresAt: 42 })
  for (const junk of [Buffer.alloc(0), Buffer.from('abc'), Buffer.alloc(40), Buffer.from([0, 0, 0, 2, 0x7b, 0x7d])]) {
    assert.equal(decodeEntry(junk), undefined)
  }
})

test('with a link: publishes made before, during and after an outage all arrive in order', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const proxy = await startProxy(broker.port)
  const { outbox, close } = await openOutbox()
  const topic = unique('t')
  const { lane, texts } = testLane(broker.url, [`${topic}/#`])
  await lane.start()
  const link = await testLink(proxy.url, { outbox })
  const publishes: Promise<void>[] = []
  let number = 0
  const publish = (count: number) => {
    for (let i = 0; i < count; i += 1) publishes.push(link.publish(`${topic}/a`, String(number++)))
  }
  publish(100)
  proxy.refuse(true)
  proxy.cut()
  publish(20)
  await eventually(() => link.state.name !== 'connected', 'the loss')
  publish(100)
  await Promise.all(publishes)
  proxy.refuse(false)
  await eventually(() => link.state.name === 'connected', 'the return')
  publish(100)
  await Promise.all(publishes)
  await eventually(
    () => new Set(texts()).size === 320,
    () => `320, not ${new Set(texts()).size}`,
  )
  const firsts = [...new Set(texts())]
  assert.deepEqual(
    firsts,
    Array.from({ length: 320 }, (_, i) => String(i)),
    'first copies are in order',
  )
  await lane.stop()
  await link.stop()
  await close()
  await proxy.close()
  await broker.close()
})

test('an entry whose connection ended keeps its place and its time', async () => {
  let now = 1_000_000
  const spool = await Spool.open({ dir: join(folder, unique('spool')), maxBytes: 100_000 })
  const clock = { now: () => now, monotonic: () => performance.now(), after: () => () => {} }
  const outbox = new Outbox({ spool, logger: silentLogger, clock })
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const proxy = await startProxy(broker.port)
  const topic = unique('t')
  const { lane, texts } = testLane(broker.url, [`${topic}/#`])
  await lane.start()
  await outbox.put(publication(`${topic}/response`, 'reply', { expiresInMs: 5_000 }))
  await outbox.put(publication(`${topic}/a`, 'first'))
  const size = outbox.size
  proxy.mute(true)
  const link = await testLink(proxy.url, { outbox })
  await eventually(() => texts().length >= 2, 'both, whose answers are lost')
  await outbox.put(publication(`${topic}/a`, 'second'))
  assert.equal(outbox.size, size + 1, 'nothing was put a second time')
  now += 6_000
  proxy.mute(false)
  proxy.cut()
  await eventually(() => outbox.size === 0, 'an empty outbox')
  await eventually(() => texts().includes('second'), 'the second')
  assert.deepEqual(texts(), ['reply', 'first', 'first', 'second'], 'too late, the reply does not go out again')
  assert.equal(outbox.stats().expired, 1)
  await lane.stop()
  await link.stop()
  await outbox.stop()
  await spool.close()
  await proxy.close()
  await broker.close()
})

test('a value that comes back from a lost connection never replaces a newer one', async () => {
  const { outbox, close } = await openOutbox()
  const value = (payload: string) => publication('a/v', payload, { newestOnly: true })
  await outbox.put(value('2'))
  await outbox.put(value('1'), { acceptedAt: Date.now() })
  const sent: string[] = []
  outbox.online(async ({ payload }) => void sent.push(payload.toString()))
  await eventually(() => outbox.size === 0, 'an empty outbox')
  assert.deepEqual(sent, ['2'])
  await close()
})

test('of several values on their way when the connection ends the newest is kept', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const proxy = await startProxy(broker.port)
  const { outbox, close } = await openOutbox()
  proxy.mute(true)
  const topic = unique('t')
  const { lane, texts } = testLane(broker.url, [`${topic}/#`])
  await lane.start()
  const link = await testLink(proxy.url, { outbox })
  const publishes = ['1', '2', '3'].map((text) => link.publish(`${topic}/v`, text, { newestOnly: true }))
  await eventually(() => texts().length === 3, 'all three, whose answers are lost')
  proxy.mute(false)
  proxy.cut()
  await Promise.all(publishes)
  await eventually(() => texts().length === 4, 'one of them again')
  assert.deepEqual(texts(), ['1', '2', '3', '3'])
  await eventually(() => outbox.size === 0, 'an empty outbox')
  await lane.stop()
  await link.stop()
  await close()
  await proxy.close()
  await broker.close()
})
