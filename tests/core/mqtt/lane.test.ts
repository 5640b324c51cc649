import assert from 'node:assert/strict'
import { test } from 'node:test'
import { drainSession } from '../../../core/mqtt/drain-session.js'
import { laneTopic } from '../../../core/mqtt/lane.js'
import { silentLogger } from '../../../core/observability/logger.js'
import {
  eventually,
  mqttConfig,
  onAllBrokersAtOnce,
  pause,
  startProxy,
  subscription,
  testLane,
  testLink,
  undisturbed,
  unique,
} from './kit.js'

/** No leave or drain of these tests takes as long, however busy the machine is. */
const LIMIT_MS = 30_000

/** What a lane promises, on every broker. */
onAllBrokersAtOnce('lane', ({ protocol }, broker) => {
  test('acknowledges after the handler settled, in the order received', async () => {
    const topic = unique('t')
    const settles: (() => void)[] = []
    const { lane, texts } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      handle: (_m, settle) => settles.push(settle),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 5; i += 1) await link.publish(`${topic}/x`, String(i))
    await eventually(() => settles.length === 5, 'five messages')
    assert.deepEqual(texts(), ['0', '1', '2', '3', '4'])
    const acknowledged = () => lane.stats().acknowledged
    const base = acknowledged()
    settles[2]!()
    settles[1]!()
    await pause(50)
    assert.equal(acknowledged(), base, 'the first message holds the acknowledgements of the later ones')
    settles[0]!()
    await eventually(() => acknowledged() === base + 3, 'three acknowledgements')
    settles[3]!()
    settles[3]!()
    settles[4]!()
    await eventually(() => acknowledged() === base + 5, 'five acknowledgements')
    assert.equal(lane.stats().inWindow, 0, 'a second settle counts for nothing')
    await link.stop()
    assert.equal(await lane.leave(LIMIT_MS), true)
  })

  test('what was not settled comes again to the next connection of the session, what was settled does not', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const first = testLane(broker.url, [`${topic}/#`], {
      protocol,
      clientId,
      handle: (message, settle) => {
        if (Number(message.payload) < 3) settle()
      },
    })
    await first.lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 6; i += 1) await link.publish(`${topic}/x`, String(i))
    await eventually(() => first.messages.length === 6, 'six messages')
    await first.lane.stop()
    await link.publish(`${topic}/x`, 'while away')
    const second = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await second.lane.start()
    await eventually(() => second.messages.length >= 4, 'four messages')
    assert.deepEqual(second.texts(), ['3', '4', '5', 'while away'])
    assert.deepEqual(
      second.messages.map(({ fresh }) => fresh),
      [false, false, false, false],
      'a resumed session says nothing about age',
    )
    assert.equal(second.messages[3]!.queuedAtMostMs, undefined, 'nobody knows how long an earlier process was away')
    await link.publish(`${topic}/x`, 'now')
    await eventually(() => second.messages.length === 5, 'the live message')
    await link.stop()
    await second.lane.leave(LIMIT_MS)
  })

  test('a session whose last holder is known bounds the age of what it kept', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const first = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await first.lane.start()
    const lastHeldAt = Date.now()
    await first.lane.stop()
    const link = await testLink(broker.url, { protocol })
    await link.publish(`${topic}/x`, 'while away')
    await pause(200)
    const second = testLane(broker.url, [`${topic}/#`], { protocol, clientId, lastHeldAt })
    await second.lane.start()
    await eventually(() => second.messages.length === 1, 'the queued message')
    const { fresh, queuedAtMostMs = Number.NaN } = second.messages[0]!
    assert.equal(fresh, false)
    assert.ok(queuedAtMostMs >= 200 && queuedAtMostMs < 20_000, `waited at most ${queuedAtMostMs}`)
    await link.stop()
    await second.lane.leave(LIMIT_MS)
  })

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

  test('a lost connection: subscribed again, nothing lost, and what is still being handled runs once', async () => {
    const topic = unique('t')
    const proxy = await startProxy(broker.port)
    const settles = new Map<string, () => void>()
    const { lane, texts } = testLane(proxy.url, [`$share/g-${topic}/${topic}/#`, `${topic}-plain/#`], {
      protocol,
      handle: (message, settle) => settles.set(message.payload.toString(), settle),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 4; i += 1) await link.publish(`${topic}/x`, `shared ${i}`)
    for (let i = 0; i < 4; i += 1) await link.publish(`${topic}-plain/x`, `plain ${i}`)
    await eventually(() => settles.size === 8, 'eight messages')
    settles.get('plain 1')!()
    proxy.cut()
    await eventually(() => lane.stats().connections === 2 && lane.state.name === 'connected', 'a second connection')
    await link.publish(`${topic}/x`, 'shared after')
    await link.publish(`${topic}-plain/x`, 'plain after')
    await eventually(() => settles.has('shared after') && settles.has('plain after'), 'messages after the loss')
    assert.equal(texts().length, 10, `each message ran once: ${texts().join(', ')}`)
    assert.equal(lane.stats().rejoined, 8)
    for (const settle of settles.values()) settle()
    await eventually(() => lane.stats().inWindow === 0, 'all settled')
    assert.equal(await lane.leave(LIMIT_MS), true)
    await link.stop()
    await proxy.close()
  })

  test('a connection lost again before anything came: what is still being handled runs once all the same', async () => {
    const topic = unique('t')
    const proxy = await startProxy(broker.port)
    const settles = new Map<string, () => void>()
    const { lane, texts } = testLane(proxy.url, [`${topic}/#`], {
      protocol,
      handle: (message, settle) => settles.set(message.payload.toString(), settle),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 3; i += 1) await link.publish(`${topic}/x`, `${i}`)
    await eventually(() => settles.size === 3, 'three messages')
    const before = proxy.connections()
    proxy.mute(true)
    proxy.cut()
    await eventually(() => lane.stats().connections === 2, 'a second connection')
    proxy.mute(false)
    proxy.cut()
    await eventually(() => lane.stats().rejoined === 3, 'what is being handled comes again')
    assert.ok(proxy.connections() >= before + 2)
    assert.equal(texts().length, 3, `each message ran once: ${texts().join(', ')}`)
    for (const settle of settles.values()) settle()
    await eventually(() => lane.stats().inWindow === 0, 'all settled')
    assert.equal(await lane.leave(LIMIT_MS), true)
    await link.stop()
    await proxy.close()
  })

  test('a connection lost while the window is full: what waited for room comes again and runs, and all is acknowledged', async () => {
    const topic = unique('t')
    const proxy = await startProxy(broker.port)
    const settles: (() => void)[] = []
    const { lane, texts } = testLane(proxy.url, [`${topic}/#`], {
      config: mqttConfig({ protocol, window: { messages: 2, bytes: 1e6 } }),
      handle: (_, settle) => settles.push(settle),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 12; i += 1) await link.publish(`${topic}/x`, `${i}`)
    await eventually(() => settles.length === 2 && lane.stats().paused === 1, 'a full window')
    proxy.cut()
    // A reader that has paused learns of the loss by what it writes: acknowledgements.
    await eventually(
      () => {
        settles.shift()?.()
        return new Set(texts()).size === 12 && lane.stats().inWindow === 0
      },
      () => `all messages after ${texts().join(', ')}`,
    )
    assert.equal(lane.stats().connections, 2)
    assert.equal(await lane.leave(LIMIT_MS), true, 'nothing that came before stands in the way of an acknowledgement')
    await link.stop()
    await proxy.close()
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

  test('draining hands nothing on any more, waits for what was handed on, and keeps the rest in the session', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const settles: (() => void)[] = []
    const first = testLane(broker.url, [`${topic}/#`], {
      protocol,
      clientId,
      window: { messages: 3, bytes: 1_000_000 },
      handle: (_m, settle) => settles.push(settle),
    })
    await first.lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 10; i += 1) await link.publish(`${topic}/x`, String(i))
    await eventually(() => settles.length === 3, 'a full window')
    assert.equal(await first.lane.drain(50), false, 'unsettled messages outlast a short deadline')
    const drained = first.lane.drain(LIMIT_MS)
    for (const settle of settles) settle()
    assert.equal(await drained, true)
    await first.lane.stop()
    assert.deepEqual(first.texts(), ['0', '1', '2'])
    const second = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await second.lane.start()
    await eventually(() => second.messages.length >= 7, 'the rest')
    await pause(50)
    assert.deepEqual(second.texts(), ['3', '4', '5', '6', '7', '8', '9'])
    await second.lane.leave(LIMIT_MS)
    await link.stop()
  })

  test('leaving a share group strands nothing: all that was dealt is handled, and the session is gone', async () => {
    const topic = unique('t')
    const filter = `$share/g-${topic}/${topic}/#`
    const slow = {
      handle: (_m: unknown, settle: () => void) => void setTimeout(settle, 3),
      protocol,
      window: { messages: 10, bytes: 1e6 },
    }
    const members = [testLane(broker.url, [filter], slow), testLane(broker.url, [filter], slow)] as const
    await Promise.all(members.map(({ lane }) => lane.start()))
    const link = await testLink(broker.url, { protocol })
    const publishing = Promise.all(Array.from({ length: 400 }, (_, i) => link.publish(`${topic}/x`, String(i))))
    await eventually(() => members[0].messages.length > 20, 'some messages')
    assert.equal(await members[0].lane.leave(LIMIT_MS), true)
    await publishing
    const seen = () => new Set([...members[0].texts(), ...members[1].texts()])
    await eventually(
      () => seen().size === 400,
      () => `all 400, saw ${seen().size}`,
    )
    assert.equal(members[0].messages.length + members[1].messages.length, 400, 'and none twice')
    assert.ok(members[0].messages.length > 20)
    await members[1].lane.leave(LIMIT_MS)

    const again = testLane(broker.url, [], { protocol, clientId: members[0].lane.clientId })
    await again.lane.start()
    await pause(50)
    const state = again.lane.state
    assert.ok(state.name === 'connected' && !state.sessionPresent, 'the session has ended')
    await again.lane.leave(LIMIT_MS)
    await link.stop()
  })

  test('a lane that cannot drain its session in time lets its handlers finish: nothing of it runs twice', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const first = testLane(broker.url, [`${topic}/#`], {
      protocol,
      clientId,
      window: { messages: 2, bytes: 1_048_576 },
      handle: (_m, settle) => void setTimeout(settle, 100),
    })
    await first.lane.start()
    const link = await testLink(broker.url, { protocol })
    const sent = Array.from({ length: 400 }, (_, i) => String(i))
    for (const text of sent) await link.publish(`${topic}/x`, text)
    assert.equal(await first.lane.leave(8_000), false, 'there is more than it can do')
    assert.ok(first.messages.length < sent.length)
    const second = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await second.lane.start()
    await eventually(() => second.texts().at(-1) === sent.at(-1), 'the rest')
    assert.deepEqual([...first.texts(), ...second.texts()], sent)
  })

  test('a session that was left behind is adopted: drained and ended', async () => {
    const topic = unique('t')
    const clientId = unique('lane')
    const filters = [`$share/g-${topic}/${topic}/#`]
    const dead = testLane(broker.url, filters, { protocol, clientId, handle: () => {} })
    await dead.lane.start()
    const link = await testLink(broker.url, { protocol })
    // Few: on 3.1.1 mosquitto sends no more than 20, of which marks may take some.
    for (let i = 0; i < 8; i += 1) await link.publish(`${topic}/x`, String(i))
    await eventually(() => dead.messages.length === 8, 'unacknowledged messages')
    await dead.lane.stop()
    const got: string[] = []
    const config = mqttConfig({ protocol })
    const outcome = await drainSession(
      {
        config,
        url: broker.url,
        clientId,
        name: 'adopted',
        subscriptions: filters.map((filter) => subscription(filter)),
        window: config.window,
        onMessage: (message, settle) => {
          got.push(message.payload.toString())
          setTimeout(settle, 1)
        },
        logger: silentLogger,
      },
      LIMIT_MS,
    )
    assert.equal(outcome, 'drained')
    assert.deepEqual(
      got,
      Array.from({ length: 8 }, (_, i) => String(i)),
    )
    const again = testLane(broker.url, [], { protocol, clientId })
    await again.lane.start()
    const state = again.lane.state
    assert.ok(state.name === 'connected' && !state.sessionPresent, 'the session has ended')
    await again.lane.leave(LIMIT_MS)
    await link.stop()
  })

  test('a session that has to go back is closed when what is being handled is acknowledged: it does not run again', async () => {
    const topic = unique('t')
    const clientId = unique('adopted')
    const gone = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await gone.lane.start()
    await gone.lane.stop()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 3; i += 1) await link.publish(`${topic}/x`, String(i))
    const config = mqttConfig({ protocol, window: { messages: 1, bytes: 1e6 } })
    const handling: (() => void)[] = []
    const abort = new AbortController()
    let outcome: string | undefined
    const ended = drainSession(
      {
        config,
        url: broker.url,
        clientId,
        name: 'adopted',
        subscriptions: [subscription(`${topic}/#`)],
        window: config.window,
        onMessage: (_message, settle) => handling.push(settle),
        logger: silentLogger,
      },
      30_000,
      abort.signal,
    ).then((end) => {
      outcome = end
    })
    await eventually(() => handling.length === 1, 'the first is being handled')
    abort.abort()
    await pause(50)
    assert.equal(outcome, undefined, 'it waits for what is being handled')
    handling[0]!()
    await ended
    assert.equal(outcome, 'kept')
    assert.equal(handling.length, 1, 'nothing more was begun')
    const owner = testLane(broker.url, [`${topic}/#`], { protocol, clientId })
    await owner.lane.start()
    await eventually(() => owner.texts().length >= 2, 'the others')
    assert.deepEqual(owner.texts(), ['1', '2'])
    await owner.lane.leave(LIMIT_MS)
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

  test('a payload over the limit arrives as its size only', async () => {
    const topic = unique('t')
    const { lane, messages } = testLane(broker.url, [`${topic}/#`], {
      config: mqttConfig({ protocol, maxPacketBytes: 1_000 }),
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await link.publish(`${topic}/x`, Buffer.alloc(1_001))
    await link.publish(`${topic}/x`, Buffer.alloc(1_000))
    await eventually(() => messages.length === 2, 'both')
    assert.deepEqual(
      messages.map(({ oversize, payload }) => [oversize, payload.length]),
      [
        [1_001, 0],
        [undefined, 1_000],
      ],
    )
    await lane.leave(LIMIT_MS)
    await link.stop()
  })

  test('messages of a session resumed by the same lane know how long they may have waited', async () => {
    const topic = unique('t')
    const proxy = await startProxy(broker.port)
    const { lane, messages } = testLane(proxy.url, [`${topic}/#`], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await link.publish(`${topic}/x`, 'before')
    await eventually(() => messages.length === 1, 'a message')
    // A process that did not run for a while, as may be at the start of a test, does not know.
    const untilFresh = async () => {
      const end = performance.now() + LIMIT_MS
      while (!messages.at(-1)!.fresh && performance.now() < end) {
        const { length } = messages
        await link.publish(`${topic}/x`, 'again')
        await eventually(() => messages.length > length, 'a live message')
        await pause(20)
      }
      assert.equal(messages.at(-1)!.fresh, true)
    }
    await untilFresh()
    const before = messages.length
    await eventually(() => lane.stats().acknowledged === before, 'its acknowledgement')
    proxy.refuse(true)
    proxy.cut()
    await pause(100)
    await link.publish(`${topic}/x`, 'away')
    await pause(300)
    proxy.refuse(false)
    // An acknowledgement that was lost with the connection brings what it was for once more.
    const away = () => messages.slice(before).find(({ payload }) => String(payload) === 'away')
    await eventually(() => away() !== undefined, 'the queued message')
    assert.equal(away()!.fresh, false)
    const waited = away()!.queuedAtMostMs
    assert.ok(waited !== undefined && waited >= 300 && waited < 20_000, `waited at most ${waited}`)
    await untilFresh()
    await lane.leave(LIMIT_MS)
    await link.stop()
    await proxy.close()
  })

  test('the window being full makes age unknown, and catching up makes it known again', async () => {
    const topic = unique('t')
    const settles: (() => void)[] = []
    let holding = true
    const { lane, messages } = testLane(broker.url, [`${topic}/#`], {
      protocol,
      window: { messages: 12, bytes: 1e6 },
      handle: (_m, settle) => {
        if (holding) settles.push(settle)
        else settle()
      },
    })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    for (let i = 0; i < 40; i += 1) await link.publish(`${topic}/x`, String(i))
    await pause(1_300) // longer than what still counts as fresh
    holding = false
    for (const settle of settles) settle()
    await eventually(() => messages.length === 40, 'all')
    const last = messages[39]!
    assert.equal(last.fresh, false)
    assert.ok(
      last.queuedAtMostMs !== undefined && last.queuedAtMostMs >= 1_000,
      `waited at most ${last.queuedAtMostMs}`,
    )
    const end = performance.now() + LIMIT_MS
    while (!messages.at(-1)!.fresh && performance.now() < end) {
      await link.publish(`${topic}/x`, 'again')
      await pause(20)
    }
    assert.equal(messages.at(-1)!.fresh, true)
    await link.stop()
    await lane.leave(LIMIT_MS)
  })

  test('does not hand on the marks it sends itself', async () => {
    const { lane, messages } = testLane(broker.url, ['#'], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    await link.publish(laneTopic(lane.clientId), 'from a stranger')
    await link.publish('some/topic', 'x')
    await eventually(() => messages.some(({ topic }) => topic === 'some/topic'), 'the message')
    assert.ok(messages.every(({ topic }) => topic !== laneTopic(lane.clientId)))
    await lane.leave(LIMIT_MS)
    await link.stop()
  })
})
