import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { after, describe, test } from 'node:test'
import { cleanUp, eventually, needsMosquitto, pause, startMosquitto, testLane, testLink, unique } from './kit.js'

after(cleanUp)

// At once: most of it is waiting for the next attempt to connect.
describe('two clients of one id', { concurrency: true }, () => {
  for (const protocol of [5, 4] as const) {
    test(`taken over by another client of the same id: one of the two stops, without a fight (MQTT ${protocol})`, async (t) => {
      if (!needsMosquitto(t)) return
      const broker = await startMosquitto()
      const clientId = unique('same')
      const fatal: string[] = []
      const make = (name: string) =>
        testLane(broker.url, ['a/b'], { protocol, clientId, onFatal: (error) => fatal.push(`${name} ${error.code}`) })
      const resident = make('resident')
      await resident.lane.start()
      // On 3.1.1 nobody says why the connection went: who was here for long enough stays.
      if (protocol === 4) await pause(3_100)
      const newcomer = make('newcomer')
      await newcomer.lane.start().catch(() => {})
      await eventually(() => fatal.length > 0, 'one of them to stop')
      const stayed = protocol === 5 ? newcomer : resident
      assert.deepEqual(fatal, [`${protocol === 5 ? 'resident' : 'newcomer'} CLIENT_ID_IN_USE`])
      await eventually(() => stayed.lane.state.name === 'connected', 'the other to stay connected')
      const { connections } = stayed.lane.stats()
      await pause(300)
      assert.equal(stayed.lane.stats().connections, connections)
      await Promise.all([resident, newcomer].map(({ lane }) => lane.stop()))
      await broker.stop()
    })
  }

  test('a broker that crashes again and again is no other user of the client id: the link goes on (MQTT 3.1.1)', async () => {
    let crashes = 0
    let away = false
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        if (away) {
          away = false
          return socket.destroy()
        }
        socket.write(Buffer.from([0x20, 2, 0, 0]))
        if (crashes === 6) return
        // A clean end, as a process that dies leaves it; nobody is there for the next attempt.
        crashes += 1
        away = true
        socket.end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const fatal: string[] = []
    const link = await testLink(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, {
      protocol: 4,
      onFatal: (error) => fatal.push(error.code),
    })
    await eventually(
      () => fatal.length > 0 || (crashes === 6 && !away && link.state.name === 'connected'),
      () => `six crashes and a connection, not ${crashes} and ${link.state.name}`,
      60_000,
    )
    assert.deepEqual(fatal, [])
    assert.equal(link.state.name, 'connected')
    await link.stop()
    server.close()
  })
})
