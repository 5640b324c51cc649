import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { cleanUp, eventually, needsMosquitto, startMosquitto, testLane, testLink, unique } from './kit.js'
import { openOutbox, publication } from './outbox-kit.js'

after(cleanUp)

// At once: most of it is waiting for the next attempt to connect.
describe('messages for which the broker closes the connection', { concurrency: true }, () => {
  for (const [what, closing, settings] of [
    ['larger than it takes', Buffer.alloc(20_000), ['max_packet_size 10000']],
    ['deeper than it takes', 'x', []],
  ] as const) {
    test(`what the broker closes on, ${what}, is left out: everything else arrives, and the link goes on`, async (t) => {
      if (!needsMosquitto(t)) return
      const broker = await startMosquitto(settings)
      const { outbox, close, dir } = await openOutbox()
      const topic = unique('t')
      const { lane, texts } = testLane(broker.url, [`${topic}/#`], { protocol: 4 })
      await lane.start()
      const deep = `${topic}${'/x'.repeat(300)}`
      // Past the checks of the link, which would not let it in.
      for (let i = 0; i < 3; i += 1) {
        await outbox.put(publication(`${topic}/a`, `before ${i}`))
        await outbox.put(publication(typeof closing === 'string' ? deep : `${topic}/a`, closing.toString()))
        await outbox.put(publication(`${topic}/v`, closing.toString(), { newestOnly: true }))
      }
      await outbox.put(publication(`${topic}/a`, 'behind'))
      const link = await testLink(broker.url, { protocol: 4, outbox })
      await eventually(() => outbox.size === 0, 'an empty outbox', 60_000)
      const isLarge = typeof closing !== 'string'
      await link.publish(`${topic}/a`, 'after')
      await eventually(() => texts().includes('after'), 'what was published afterwards')
      assert.deepEqual(
        [...new Set(texts())].filter((text) => text !== 'x'),
        ['before 0', 'before 1', 'before 2', 'behind', 'after'],
      )
      assert.equal(outbox.stats().refused, isLarge ? 4 : 3)
      assert.equal(link.state.name, 'connected')
      await lane.stop()
      await link.stop()
      await close()
      const again = await openOutbox(dir)
      assert.equal(again.outbox.size, 0, 'nothing of it is left for the next start')
      await again.close()
      await broker.stop()
    })
  }

  test('a publish that the broker closes on while the link is up ends in the outbox, and is left out there', async (t) => {
    if (!needsMosquitto(t)) return
    const broker = await startMosquitto(['max_packet_size 10000'])
    const { outbox, close } = await openOutbox()
    const topic = unique('t')
    const { lane, texts } = testLane(broker.url, [`${topic}/#`], { protocol: 4 })
    await lane.start()
    const link = await testLink(broker.url, { protocol: 4, outbox })
    await link.publish(`${topic}/a`, Buffer.alloc(20_000))
    await Promise.all(Array.from({ length: 50 }, (_, i) => link.publish(`${topic}/a`, String(i))))
    await eventually(() => outbox.size === 0 && texts().includes('49'), 'all that can arrive', 60_000)
    assert.deepEqual(
      [...new Set(texts())],
      Array.from({ length: 50 }, (_, i) => String(i)),
    )
    assert.equal(outbox.stats().refused, 1)
    await lane.stop()
    await link.stop()
    await close()
    await broker.stop()
  })
})
