import mqtt from 'mqtt'
import { DEVICE, topicOf } from './message.js'

/** What an application without a framework does: one listener that parses JSON. */
export async function openBare(name: string, url: string, qos: 0 | 1, handled: () => void): Promise<void> {
  const client = mqtt.connect(url, { reconnectPeriod: 0, clientId: `bench-${name}-${process.pid}` })
  await new Promise<void>((resolve) => client.once('connect', () => resolve()))
  if (name === 'bare-tuned') corkAcknowledgements(client)
  if (name === 'bare-awaits') client.on('message', byHand(handled))
  else {
    client.on('message', (_topic, payload) => {
      if ((JSON.parse(payload.toString()) as { device_id: number }).device_id === DEVICE) handled()
    })
  }
  await client.subscribeAsync(topicOf(name), { qos })
}

/** The least that three async middleware and a parameter cost, written for this one route. */
function byHand(handled: () => void): (topic: string, bytes: Buffer) => void {
  const pass = async (next: () => Promise<void>) => next()
  return (topic, bytes) => {
    const payload = JSON.parse(bytes.toString()) as { device_id: number }
    const id = Number(topic.split('/')[2])
    const handler = async () => {
      if (payload.device_id === id && id === DEVICE) handled()
    }
    void pass(() => pass(() => pass(handler)))
  }
}

/** No delay, and all PUBACKs of a turn of the event loop in one write. */
function corkAcknowledgements(client: mqtt.MqttClient): void {
  const stream = client.stream as typeof client.stream & { setNoDelay(on: boolean): void }
  stream.setNoDelay(true)
  let corked = false
  client.on('packetsend', () => {
    if (corked) return
    corked = true
    stream.cork()
    setImmediate(() => {
      corked = false
      stream.uncork()
    })
  })
}
