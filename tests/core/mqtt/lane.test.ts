import assert from 'node:assert/strict'
import { test } from 'node:test'
import { laneTopic } from '../../../core/mqtt/lane.js'
import { eventually, LIMIT_MS, mqttConfig, onAllBrokersAtOnce, pause, testLane, testLink, unique } from './kit.js'

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
