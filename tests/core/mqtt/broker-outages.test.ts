import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { type Logger, silentLogger } from '../../../core/observability/logger.js'
import { cleanUp, eventually, testLane, testLink } from './kit.js'
import { startProxy } from './proxy.js'

afterEach(cleanUp)

test('an outage is told once by a process, however many links it has and attempts they make, and its end with its length', async () => {
  const embedded = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  const proxy = await startProxy(embedded.port)
  const told: string[] = []
  let attempts = 0
  const logger: Logger = {
    ...silentLogger,
    debug: (_, text) => {
      if (text === 'the broker cannot be reached') attempts += 1
    },
    info: (facts, text) => told.push(`info ${text} ${typeof (facts as { seconds?: unknown }).seconds}`),
    warn: (_, text) => told.push(`warn ${text}`),
  }
  const links = [await testLink(proxy.url, { logger }), await testLink(proxy.url, { logger })]
  const { lane } = testLane(proxy.url, ['a/b'], { logger })
  await lane.start()
  assert.deepEqual(told, [], 'the version of the protocol is in the start report')

  for (const round of [1, 2]) {
    told.length = 0
    attempts = 0
    proxy.refuse(true)
    proxy.cut()
    await eventually(() => attempts >= 12, 'many attempts')
    assert.deepEqual(told, ['warn connection to the broker lost'], `outage ${round}`)
    proxy.refuse(false)
    await eventually(() => [...links, lane].every(({ state }) => state.name === 'connected'), 'all are back')
    assert.deepEqual(told, ['warn connection to the broker lost', 'info the broker is back number'], `outage ${round}`)
  }

  told.length = 0
  proxy.refuse(true)
  proxy.cut()
  await eventually(() => [...links, lane].every(({ state }) => state.name === 'waiting'), 'all are lost')
  await links[0]!.stop()
  await lane.stop()
  proxy.refuse(false)
  await eventually(() => links[1]!.state.name === 'connected', 'it is back')
  assert.equal(told.at(-1), 'info the broker is back number', 'links that ended are not waited for')
  await cleanUp()
  await embedded.close()
})
