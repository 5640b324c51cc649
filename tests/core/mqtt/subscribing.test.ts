import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, test } from 'node:test'
import mqttPacket from 'mqtt-packet'
import { needIdentifiers } from '../../../core/mqtt/subscribing.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { cleanUp, subscription, testLane } from './kit.js'

afterEach(cleanUp)

/** A broker that refuses every filter with "secret" in it: no broker at hand does so on request. */
async function refusingBroker(code: number, connack: object = {}) {
  const subscribes: mqttPacket.ISubscribePacket[] = []
  const server = createServer((socket) => {
    let version = 4
    const parser = mqttPacket.parser()
    parser.on('packet', (packet) => {
      const send = (answer: object) =>
        socket.write(mqttPacket.generate(answer as mqttPacket.Packet, { protocolVersion: version }))
      if (packet.cmd === 'connect') {
        version = packet.protocolVersion ?? 4
        send({ cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: false, properties: connack })
      } else if (packet.cmd === 'subscribe') {
        subscribes.push(packet)
        const granted = packet.subscriptions.map(({ topic, qos }) => (topic.includes('secret') ? code : qos))
        send({ cmd: 'suback', messageId: packet.messageId, granted })
      } else if (packet.cmd === 'publish' && packet.qos === 1)
        send({ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 })
    })
    socket.on('data', (data) => parser.parse(data))
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    subscribes,
    close: () => new Promise((resolve) => server.close(resolve)),
  }
}

for (const [protocol, code] of [
  [5, 0x87],
  [5, 0x9e],
  [4, 0x80],
] as const) {
  test(`a refusal with 0x${code.toString(16)} names its filter and no other (MQTT ${protocol})`, async () => {
    const broker = await refusingBroker(code)
    const { lane } = testLane(broker.url, ['a/b', 'secret/1', 'c/d', '$share/g/secret/2'], { protocol })
    await assert.rejects(lane.start(), (error: unknown) => {
      assert.ok(error instanceof RouteMQError && error.code === 'SUBSCRIPTION_REFUSED', String(error))
      const refusals = error.details?.refusals as { filter: string; reason: number }[]
      assert.deepEqual(
        refusals.map(({ filter, reason }) => [filter, reason]),
        [
          ['secret/1', code],
          ['$share/g/secret/2', code],
        ],
      )
      return true
    })
    assert.equal(lane.state.name, 'stopped')
    await cleanUp()
    await broker.close()
  })
}

test('the own topic of a lane may be refused: the lane works without', async () => {
  const broker = await refusingBroker(0x87)
  const { lane } = testLane(broker.url, ['a/b'], { protocol: 5, clientId: 'secret-client' })
  await lane.start()
  assert.equal(lane.state.name, 'connected')
  await cleanUp()
  await broker.close()
})

test('identifiers are asked for where filters of a lane overlap and the broker has them', async () => {
  for (const [connack, filters, expected] of [
    [{}, ['a/+', '+/b'], [1, 2]],
    [{}, ['a/b', 'a/c'], [undefined, undefined]],
    [{ subscriptionIdentifiersAvailable: false }, ['a/+', '+/b'], [undefined, undefined]],
  ] as const) {
    const broker = await refusingBroker(0x87, connack)
    const { lane } = testLane(broker.url, filters, { protocol: 5 })
    await lane.start()
    const found = filters.map(
      (filter) =>
        broker.subscribes.find(({ subscriptions }) => subscriptions[0]?.topic === filter)?.properties
          ?.subscriptionIdentifier,
    )
    assert.deepEqual(found, expected)
    await cleanUp()
    await broker.close()
  }
  assert.equal(needIdentifiers([subscription('$share/g/a/+'), subscription('a/b')]), true)
  assert.equal(needIdentifiers(Array.from({ length: 201 }, (_, i) => subscription(`a/${i}`))), true)
})
