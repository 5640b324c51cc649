import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { refuseUsedClientId } from '../../../core/mqtt/presence.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { freePort, mqttConfig, needsMosquitto, onEachBroker, startMosquitto, testLink, unique } from './kit.js'

const statusOf = (clientId: string) => ({
  topic: `routemq/${clientId}/status`,
  online: 'online',
  offline: 'offline',
})

/** The wait for an answer is over as soon as it begins, and counted. */
function impatientClock(): { clock: Clock; waits: number[] } {
  const waits: number[] = []
  const clock: Clock = {
    ...systemClock,
    after(ms, run, options) {
      waits.push(ms)
      return systemClock.after(Math.min(ms, 500), run, options)
    },
  }
  return { clock, waits }
}

onEachBroker('who has a client id', ({ protocol }, broker) => {
  const ask = (clientId: string, clock: Clock = systemClock) =>
    refuseUsedClientId({ config: mqttConfig({ protocol }), url: broker.url, clientId, clock })

  test('one that nobody uses is free, and nothing of the question stays at the broker', async () => {
    const clientId = unique('free')
    await ask(clientId)
    await ask(clientId)
  })

  test('one that a running link has is refused, again and again, and that link loses nothing', async () => {
    const clientId = unique('used')
    const link = await testLink(broker.url, { protocol, clientId, status: statusOf(clientId) })
    const states: string[] = []
    link.onState(({ name }) => states.push(name))
    for (let time = 0; time < 3; time += 1) {
      await assert.rejects(ask(clientId), { code: 'CLIENT_ID_IN_USE', details: { clientId } })
    }
    await link.publish('still/there', 'yes')
    assert.deepEqual(states, [])
    assert.equal(link.state.name, 'connected')
  })

  test('one whose link has stopped is free at once', async () => {
    const clientId = unique('stopped')
    const link = await testLink(broker.url, { protocol, clientId, status: statusOf(clientId) })
    await link.stop()
    await ask(clientId)
  })

  test('one that is only remembered as online is free after a wait', async () => {
    const clientId = unique('remembered')
    const link = await testLink(broker.url, { protocol })
    await link.publish(`routemq/${clientId}/status`, 'online', { retain: true })
    const { clock, waits } = impatientClock()
    await ask(clientId, clock)
    assert.deepEqual(waits, [2_000])
    await link.publish(`routemq/${clientId}/status`, '', { retain: true })
  })
})

test('without a broker nobody can say, and the start goes on', async () => {
  const url = `mqtt://127.0.0.1:${await freePort()}`
  await refuseUsedClientId({ config: mqttConfig(), url, clientId: unique('alone'), clock: systemClock })
})

test('where access rules refuse the topics the start goes on', async (t) => {
  if (!needsMosquitto(t)) return
  const folder = await mkdtemp(join(tmpdir(), 'routemq-acl-'))
  await writeFile(join(folder, 'acl'), 'topic readwrite other/#\n')
  const broker = await startMosquitto([`acl_file ${join(folder, 'acl')}`])
  t.after(async () => {
    await broker.stop()
    await rm(folder, { recursive: true })
  })
  const { clock } = impatientClock()
  for (const protocol of [5, 4] as const) {
    await refuseUsedClientId({ config: mqttConfig({ protocol }), url: broker.url, clientId: unique('acl'), clock })
  }
})
