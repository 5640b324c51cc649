import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { RetainedFile } from '../../../core/kernel/retained-file.js'
import { readRetained } from '../../../core/mqtt/read-retained.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { mqttConfig, onEachBroker, testLink, unique } from '../mqtt/kit.js'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-retained-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

onEachBroker('what was left retained', ({ protocol, mosquitto }, broker) => {
  const open = (dir: string, url = broker.url) =>
    RetainedFile.open({
      file: join(dir, 'retained.json'),
      broker: url,
      read: (topics) =>
        readRetained(
          { config: mqttConfig({ protocol }), url: broker.url, clientId: unique('gateway'), clock: systemClock },
          topics,
        ),
      logger: silentLogger,
      clock: systemClock,
    })
  const value = (timestamp: number) => JSON.stringify({ value: 1, quality: 'good', timestamp })

  test('is ours until somebody publishes there after our end', async (t) => {
    const dir = folder(t)
    const prefix = unique('plant')
    const names = ['mine', 'theirs', 'text', 'none'].map((name) => `${prefix}/${name}`)
    const [mine, theirs, text] = names as [string, string, string]
    const link = await testLink(broker.url, { protocol })
    const first = await open(dir)
    await first.save(names)
    const retained = { qos: 1, retain: true } as const
    await link.publish(mine, value(Date.now() / 1_000), retained)
    await link.publish(theirs, value(Date.now() / 1_000), retained)
    await link.publish(text, 'offline', retained)
    await first.stop()
    await link.publish(theirs, value(Date.now() / 1_000 + 3), retained)
    const second = await open(dir)
    assert.deepEqual([...second.before], names)
    assert.deepEqual(await second.ours(names), new Set([mine, text]))
    await second.stop()
  })

  test('an availability that another installation renews is its own', {
    skip: protocol !== 5 && 'MQTT 3.1.1 has no expiry to tell by',
  }, async (t) => {
    const dir = folder(t)
    const topic = `${unique('plant')}/availability`
    const link = await testLink(broker.url, { protocol })
    const first = await open(dir)
    await first.save([topic])
    const say = (left: number) =>
      link.publish(topic, 'online', { retain: true, properties: { messageExpiryInterval: left } })
    await first.stop()
    await say(60)
    const second = await open(dir)
    assert.deepEqual(await second.ours([topic]), new Set([topic]), 'said two minutes ago')
    const moved = { ...systemClock, now: () => Date.now() + 10_000 }
    const later = await RetainedFile.open({
      file: join(dir, 'retained.json'),
      broker: broker.url,
      read: async () => [{ topic, payload: 'online', expiresInS: 179 }],
      logger: silentLogger,
      clock: moved,
    })
    assert.deepEqual(await later.ours([topic]), new Set(), 'said a second ago')
    await second.stop()
    await later.stop()
  })

  test('many topics are read at once, and a topic beside them is not', async () => {
    const prefix = unique('many')
    const topics = Array.from({ length: 450 }, (_, n) => `${prefix}/${n}`)
    const link = await testLink(broker.url, { protocol })
    await Promise.all([...topics, `${prefix}/450`].map((topic) => link.publish(topic, topic, { retain: true })))
    const question = { config: mqttConfig({ protocol }), url: broker.url, clientId: unique('gateway') }
    const found = await readRetained({ ...question, clock: systemClock }, topics)
    assert.deepEqual(new Set(found.map(({ topic, payload }) => `${topic}=${payload}`)).size, 450)
    assert.deepEqual(new Set(found.map(({ topic }) => topic)), new Set(topics))
  })

  test('at another broker nothing is ours, whatever the user is called', {
    skip: !mosquitto && 'asked once: it is the same at every broker',
  }, async (t) => {
    const dir = folder(t)
    const first = await open(dir)
    await first.save(['a'])
    await first.stop()
    const withUser = await open(dir, broker.url.replace('//', '//somebody:secret@'))
    assert.deepEqual([...withUser.before], ['a'])
    await withUser.stop()
    const other = await open(dir, 'mqtt://elsewhere:1883')
    assert.deepEqual([...other.before], [])
    await other.stop()
  })
})

test('what cannot be written down is written when it can be', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'retained.json')
  const options = { file, broker: 'mqtt://b', read: async () => [], logger: silentLogger }
  const clock = new FakeClock()
  const first = await RetainedFile.open({ ...options, clock })
  mkdirSync(`${file}.new`)
  await first.save(['a'])
  rmdirSync(`${file}.new`)
  await clock.advance(15_000)
  await first.stop()
  const second = await RetainedFile.open({ ...options, clock })
  assert.deepEqual([...second.before], ['a'])
  await second.stop()
})

test('a broker that is away leaves the question open', async () => {
  const question = { config: mqttConfig(), url: 'mqtt://127.0.0.1:9', clientId: 'a', clock: systemClock }
  await assert.rejects(readRetained(question, ['a']), { code: 'BROKER_UNAVAILABLE' })
})
