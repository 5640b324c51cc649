import assert from 'node:assert/strict'
import { test } from 'node:test'
import { valueFrames } from '../../../core/mqtt/value-frames.js'
import { eventually, onEachBroker, testLane, testLink, unique } from './kit.js'

onEachBroker('values', ({ protocol }, broker) => {
  test('all arrive, of every length, in order, before what is published after them', async () => {
    const topic = unique('v')
    const { lane, texts } = testLane(broker.url, [`${topic}/#`], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    // Remaining lengths of one, two and three bytes, and letters of more than one.
    const payloads = ['', 'a', 'x'.repeat(200), '\u00b0C \u20ac', 'y'.repeat(20_000), 'last']
    link.publishValues(payloads.map((payload) => ({ topic: `${topic}/\u00e4`, payload, retain: false })))
    link.publishValues([{ topic: `${topic}/b`, payload: 'of another call', retain: false }])
    await link.publish(`${topic}/c`, 'after them')
    await eventually(() => texts().length === payloads.length + 2, 'every value')
    assert.deepEqual(texts(), [...payloads, 'of another call', 'after them'])
    assert.equal(link.stats().published, payloads.length + 2)
  })

  test('a retained value is there for who comes later', async () => {
    const topic = unique('v')
    const link = await testLink(broker.url, { protocol })
    link.publishValues([{ topic, payload: '21.5', retain: true }])
    await link.publish(`${topic}/after`, '')
    const late = testLane(broker.url, [topic], { protocol })
    await late.lane.start()
    await eventually(() => late.messages.length === 1, 'the retained value')
    assert.equal(late.texts()[0], '21.5')
    await link.publish(topic, '', { retain: true })
  })

  test('values that wait when the link stops still go out; later ones are dropped and counted', async () => {
    const topic = unique('v')
    const { lane, texts } = testLane(broker.url, [topic], { protocol })
    await lane.start()
    const link = await testLink(broker.url, { protocol })
    link.publishValues([{ topic, payload: 'last', retain: false }])
    await link.stop()
    link.publishValues([{ topic, payload: 'too late', retain: false }])
    await eventually(() => link.stats().dropped === 1, 'the late value dropped')
    await eventually(() => texts().length > 0, 'the last value')
    assert.deepEqual(texts(), ['last'])
  })

  test('a topic nobody may publish on is refused, and nothing of that call goes', async () => {
    const link = await testLink(broker.url, { protocol })
    const values = ['a/b', 'a/+'].map((topic) => ({ topic, payload: '1', retain: false }))
    assert.throws(() => link.publishValues(values), { code: 'TOPIC_INVALID' })
    assert.equal(link.stats().published, 0)
  })
})

test('a value that the broker will not take is left out, its neighbours go', () => {
  const values = ['1', 'x'.repeat(100), '2'].map((payload) => ({ topic: 't', payload, retain: false }))
  const { bytes, count } = valueFrames(values, 4, 50)
  assert.equal(count, 2)
  assert.deepEqual([...bytes], [0x30, 4, 0, 1, 0x74, 0x31, 0x30, 4, 0, 1, 0x74, 0x32])
})
