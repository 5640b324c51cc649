import assert from 'node:assert/strict'
import { test } from 'node:test'
import { drainSession } from '../../../core/mqtt/drain-session.js'
import { silentLogger } from '../../../core/observability/logger.js'
import {
  eventually,
  LIMIT_MS,
  mqttConfig,
  onAllBrokersAtOnce,
  pause,
  subscription,
  testLane,
  testLink,
  unique,
} from './kit.js'
import { startProxy } from './proxy.js'

onAllBrokersAtOnce('session of a lane', ({ protocol }, broker) => {
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
})
