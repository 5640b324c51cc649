/** Publisher of the receive case, in a process of its own: raw frames, so that it is never what is measured. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { type Flood, PAYLOAD } from './message.js'

const port = Number(process.argv[2])
/** QoS 1 messages on their way to the broker. */
const AHEAD = 5_000
const BATCH = 200

const socket = connect(port, '127.0.0.1').setNoDelay(true)
const clientId = `pub-${process.pid}`
const variable = Buffer.from([0, 4, ...Buffer.from('MQTT'), 4, 2, 0, 0, 0, clientId.length, ...Buffer.from(clientId)])
socket.write(Buffer.concat([Buffer.from([0x10, variable.length]), variable]))
await once(socket, 'data')
process.send!('ready')

let answered = 0
let answering = 4
let wake = () => {}
socket.on('data', (data: Buffer) => {
  answered += data.length / answering
  wake()
})
const PING = Buffer.from([0xc0, 0])

async function flood({ topic, messages, qos }: Flood): Promise<void> {
  const remaining = 2 + topic.length + (qos === 1 ? 2 : 0) + PAYLOAD.length
  const fixed = Buffer.from([0x30 | (qos << 1), (remaining & 0x7f) | 0x80, remaining >> 7, 0, topic.length])
  const head = Buffer.concat([fixed, Buffer.from(topic)])
  const before = answered
  for (let sent = 0; sent < messages; ) {
    const batch: Buffer[] = []
    for (let i = 0; i < BATCH && sent < messages; i += 1, sent += 1) {
      const id = (sent % 65_535) + 1
      batch.push(head, ...(qos === 1 ? [Buffer.from([id >> 8, id & 0xff])] : []), PAYLOAD)
    }
    if (!socket.write(Buffer.concat(batch))) await once(socket, 'drain')
    if (qos === 1) await until(() => sent - (answered - before) <= (sent < messages ? AHEAD : 0))
  }
  // The answer to a ping says that the broker has taken everything before it.
  answering = 2
  answered = 0
  socket.write(PING)
  await until(() => answered === 1)
  answering = 4
  answered = 0
  process.send!('published')
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve
    })
  }
}

process.on('message', (order: Flood) => void flood(order))
process.once('disconnect', () => process.exit())
