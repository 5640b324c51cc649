import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  eventually,
  LIMIT_MS,
  mqttConfig,
  onAllBrokersAtOnce,
  pause,
  testLane,
  testLink,
  undisturbed,
  unique,
} from './kit.js'

onAllBrokersAtOnce('window of a lane', ({ protocol }, broker) => {
  test('a full window holds no more than its messages, whatever the broker sends', async () => {
    const topic = unique('t')
    const settles: (() => void)[] = []
    let most = 0
    const { lane, messages } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      window: { messages: 8, bytes: 1_000_000 },
      handle: (_m, settle) => {
        settles.push(settle)
        most = Math.max(most, lane.stats().inWindow)
      },
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await Promise.all(Array.from({ length: 300 }, (_, i) => link.publish(`${topic}/x`, String(i))))
    while (messages.length < 300) {
      await eventually(
        () => settles.length > 0,
        () => `a message after ${messages.length}`,
      )
      for (const settle of settles.splice(0)) settle()
    }
    assert.equal(most, 8)
    assert.deepEqual(
      messages.map(({ payload }) => Number(payload)),
      Array.from({ length: 300 }, (_, i) => i),
    )
    await link.stop()
    for (const settle of settles) settle()
    await lane.leave(LIMIT_MS)
  })

  test('a full window holds no more than its bytes, and lets one oversized message pass alone', async () => {
    const topic = unique('t')
    const settles: (() => void)[] = []
    let most = 0
    const { lane, messages } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      window: { messages: 100, bytes: 10_000 },
      handle: (_m, settle) => {
        settles.push(settle)
        most = Math.max(most, lane.stats().bytes)
      },
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    const sizes = [4_000, 4_000, 4_000, 25_000, 100, 9_000, 9_000]
    for (const size of sizes) await link.publish(`${topic}/x`, Buffer.alloc(size, 1))
    while (messages.length < sizes.length) {
      await eventually(
        () => settles.length > 0,
        () => `a message after ${messages.length}`,
      )
      settles.shift()!()
    }
    assert.deepEqual(
      messages.map(({ payload }) => payload.length),
      sizes,
    )
    assert.ok(most >= 25_000 && most < 25_100, `the large one alone, its topic and a property or two: ${most}`)
    await link.stop()
    for (const settle of settles) settle()
    await lane.leave(LIMIT_MS)
  })

  test('a session that holds more than the window is subscribed before any of it is done', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const first = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await first.lane.start()
    await first.lane.stop()
    const link = await testLink(broker.url, { protocol })
    const texts = Array.from({ length: 300 }, (_, i) => String(i))
    for (const text of texts) await link.publish(`${topic}/x`, text)
    const settles: (() => void)[] = []
    let isHeld = true
    const second = testLane(broker.url, [`${topic}/#`], {
      protocol,
      clientId,
      window: { messages: 4, bytes: 1_048_576 },
      handle: (_m, settle) => (isHeld ? void settles.push(settle) : settle()),
    })
    await second.lane.start()
    assert.equal(second.lane.state.name, 'connected')
    assert.ok(second.messages.length <= 4, `${second.messages.length} beyond the window`)
    isHeld = false
    for (const settle of settles) settle()
    await eventually(() => second.messages.length >= texts.length, 'all of it')
    assert.deepEqual(second.texts(), texts)
  })

  test('a paused lane outlives its keepalive', () =>
    undisturbed(400, async () => {
      const topic = unique('t')
      const settles: (() => void)[] = []
      const { lane } = testLane(broker.url, [`${topic}/#`], {
        config: mqttConfig({ protocol, keepaliveSeconds: 1, window: { messages: 2, bytes: 1e6 } }),
        window: { messages: 2, bytes: 1e6 },
        handle: (_m, settle) => settles.push(settle),
      })
      await lane.start()
      const link = await testLink(broker.url, { protocol })
      // QoS 0 and 1 mixed: neither the broker's window nor ours may be what keeps the connection alive.
      for (let i = 0; i < 20; i += 1) await link.publish(`${topic}/x`, String(i), { qos: i < 3 ? 1 : 0 })
      await pause(3_500)
      assert.equal(lane.stats().connections, 1)
      assert.equal(lane.state.name, 'connected')
      const drain = setInterval(() => settles.shift()?.(), 1)
      await eventually(() => lane.stats().inWindow === 0 && settles.length === 0, 'all settled')
      clearInterval(drain)
      assert.equal(await lane.leave(LIMIT_MS), true)
      await link.stop()
    }))

  test('handlers of a full window may each await a publish: nothing they wait for comes over the lane', () =>
    undisturbed(400, async () => {
      const topic = unique('t')
      const link = await testLink(broker.url, { protocol })
      let finished = 0
      const { lane } = testLane(broker.url, [`${topic}/in`], {
        config: mqttConfig({ protocol, keepaliveSeconds: 1 }),
        window: { messages: 4, bytes: 1e6 },
        handle: async (message, settle) => {
          await link.publish(`${topic}/out`, message.payload)
          await pause(600)
          await link.publish(`${topic}/out`, message.payload)
          finished += 1
          settle()
        },
      })
      await lane.start()
      for (let i = 0; i < 16; i += 1) await link.publish(`${topic}/in`, String(i))
      await eventually(
        () => finished === 16,
        () => `16, not ${finished}`,
      )
      assert.equal(lane.stats().connections, 1)
      await lane.leave(LIMIT_MS)
      await link.stop()
    }))

  test('a flood of QoS 0 behind a stuck window drops the oldest, counted, and keeps the bound', async () => {
    const topic = unique('t')
    const settles: (() => void)[] = []
    const { lane, messages } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      window: { messages: 10, bytes: 1e6 },
      handle: (_m, settle) => settles.push(settle),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 100; i += 1) await link.publish(`${topic}/x`, String(i), { qos: 0 })
    await eventually(
      () => lane.stats().dropped === 80,
      () => `80 dropped, not ${lane.stats().dropped}`,
    )
    assert.equal(messages.length, 10)
    for (const settle of settles.splice(0)) settle()
    await eventually(() => messages.length === 20, 'the newest')
    assert.deepEqual(
      messages.slice(10).map(({ payload }) => Number(payload)),
      Array.from({ length: 10 }, (_, i) => 90 + i),
    )
    for (const settle of settles) settle()
    await lane.leave(LIMIT_MS)
    await link.stop()
  })

  test('a handler that is done at once never fills the window: no QoS 0 is lost at full speed', async () => {
    const topic = unique('t')
    let handled = 0
    const { lane } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      window: { messages: 16, bytes: 1e6 },
      handle: async (_m, settle) => {
        await Promise.resolve()
        handled += 1
        settle()
      },
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 5_000; i += 1) await link.publish(`${topic}/x`, 'x'.repeat(50), { qos: 0 })
    await eventually(
      () => handled === 5_000,
      () => `5000, not ${handled}`,
    )
    assert.equal(lane.stats().dropped, 0)
    await lane.leave(LIMIT_MS)
    await link.stop()
  })
})
