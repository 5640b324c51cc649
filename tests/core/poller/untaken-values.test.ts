import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { atCleanUp, cleanUp, eventually, testLane, testLink, unique } from '../mqtt/kit.js'
import { openOutbox } from '../mqtt/outbox-kit.js'
import { startProxy } from '../mqtt/proxy.js'
import { openPoller, Recorder, until } from './poller-harness.js'

afterEach(cleanUp)

const POINTS = { points: [{ name: 'x', address: 0 }] }

test('a device that fell silent while the broker was away is told bad when it is back, also where all is published always', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  atCleanUp(() => broker.close())
  const proxy = await startProxy(broker.port)
  const { outbox, close } = await openOutbox()
  const link = await testLink(proxy.url, { outbox })
  const topicPrefix = unique('plant')
  const { lane, texts } = testLane(broker.url, [`${topicPrefix}/unit1/points/x`])
  await lane.start()
  const last = () => JSON.parse(texts().at(-1) ?? '{}') as { value?: unknown; quality?: string; reason?: string }
  const target = { device_id: 'unit1', address: 0, interval_ms: 100 }
  const units = { 1: { holding: { 0: 7 } } }
  const p = await openPoller({ units }, { unit1: POINTS }, [target], { publisher: link, topicPrefix })
  p.poller.start()
  await eventually(() => last().quality === 'good', 'a good value')

  proxy.refuse(true)
  proxy.cut()
  await eventually(() => link.state.name !== 'connected', 'the broker away')
  p.plant.faults.set(1, { kind: 'deaf' })
  await until(() => p.samples.some(({ block }) => block.quality === 'bad'))
  proxy.refuse(false)
  await eventually(() => last().quality === 'bad', 'a bad value')
  assert.deepEqual([last().value, last().reason], [null, 'DEVICE_TIMEOUT'])

  proxy.refuse(true)
  proxy.cut()
  await eventually(() => link.state.name !== 'connected', 'the broker away')
  p.plant.faults.clear()
  await until(() => p.samples.at(-1)!.block.quality === 'good')
  proxy.refuse(false)
  await eventually(() => last().quality === 'good', 'a good value again')
  const first = texts().findIndex((text) => JSON.parse(text).quality === 'bad')
  const qualities = texts()
    .slice(first)
    .map((text) => (JSON.parse(text) as { quality: string }).quality)
  assert.ok(!qualities.slice(qualities.indexOf('good')).includes('bad'), `${qualities}`)
  await p.close()
  await close()
})

test('values of a quality that is news have an outcome, those that the next one replaces have none', async () => {
  const p = await openPoller({ units: { 1: {} } }, { unit1: POINTS }, [{ device_id: 'unit1', address: 0 }])
  const told = () => p.recorder.on('modbus/data/unit1/points/x')
  const qualities = () => told().map(({ payload, options }) => [JSON.parse(payload).quality, options.qos])
  p.poller.start()
  await until(() => told().length >= 2)
  p.plant.faults.set(1, { kind: 'exception', code: 4 })
  await until(() => qualities().at(-1)![0] === 'bad')
  p.plant.faults.clear()
  const before = told().length
  await until(() => told().length >= before + 2)
  assert.deepEqual(qualities().slice(before - 2, before + 2), [
    ['good', 0],
    ['bad', 1],
    ['good', 1],
    ['good', 0],
  ])
  await p.close()
})

test('a value that was not taken is published with the next slot, though it did not change', async () => {
  let isFull = true
  const recorder = new (class extends Recorder {
    override publish(...message: Parameters<Recorder['publish']>): Promise<void> {
      return isFull && message[0].endsWith('/x') ? Promise.reject(new Error('full')) : super.publish(...message)
    }
  })()
  const target = { device_id: 'unit1', address: 0, publish: 'change', interval_ms: 60 }
  const units = { 1: { holding: { 0: 7 } } }
  const p = await openPoller({ units }, { unit1: POINTS }, [target], { publisher: recorder })
  const told = () => recorder.values('modbus/data/unit1/points/x')
  p.poller.start()
  await until(() => p.poller.metrics().publish_failures >= 2)
  assert.deepEqual(told(), [])
  isFull = false
  await until(() => told().length > 0)
  const cycles = p.poller.metrics().total_cycles
  await until(() => p.poller.metrics().total_cycles >= cycles + 3)
  assert.equal(p.samples.length, 1, 'kept once, however often it was offered')
  assert.deepEqual(
    told().map((one) => (one as { value: unknown }).value),
    [7],
    'once',
  )
  await p.close()
})
