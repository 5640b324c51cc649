import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually, LIMIT_MS, onAllBrokersAtOnce, pause, testLane, testLink, unique } from './kit.js'
import { startProxy } from './proxy.js'

onAllBrokersAtOnce('age of what a lane brings', ({ protocol }, broker) => {
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
})
