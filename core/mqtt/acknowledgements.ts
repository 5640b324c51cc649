import type { MqttClient } from 'mqtt'
import { Fifo } from './fifo.js'
import { condense, type Unacknowledged } from './unacknowledged.js'

/** What mqtt.js 5.16 calls to send any packet; private, so it is named in this file only. */
interface PacketSender {
  _sendPacket(packet: { cmd: string; messageId?: number }, done?: () => void, ...rest: unknown[]): void
}

/**
 * Sends PUBACKs after the handlers settled instead of when the library has read the message, and in the order in which
 * the messages came (MQTT 5.0, 4.6: PUBACKs are sent in the order of the PUBLISHes).
 *
 * mqtt.js acknowledges a message as soon as `handleMessage` calls back, and reads nothing more before that; so the
 * automatic PUBACK is swallowed where it is sent. This leans on the private `_sendPacket` of the pinned version.
 */
export class Acknowledgements {
  readonly #client: MqttClient
  readonly #waiting = new Fifo<Unacknowledged>()
  #ready: Unacknowledged[] = []
  #scheduled = false
  #closed = false
  #sent = 0

  constructor(client: MqttClient) {
    this.#client = client
    const sender = client as unknown as PacketSender
    const send = sender._sendPacket.bind(client)
    sender._sendPacket = (packet, done, ...rest) => {
      if (packet.cmd !== 'puback') return send(packet, done, ...rest)
      done?.()
    }
  }

  /** Messages without a PUBACK. */
  get length(): number {
    return this.#waiting.length + this.#ready.length
  }

  /** The earliest of all without a PUBACK. */
  get oldest(): Unacknowledged | undefined {
    return this.#ready[0] ?? this.#waiting.peek()
  }

  /** PUBACKs of messages that went out. */
  get sent(): number {
    return this.#sent
  }

  /** A message came; entries must be handed in in the order of arrival. */
  arrived(entry: Unacknowledged): void {
    entry.owner = this
    this.#waiting.push(entry)
  }

  /** The message is done with; its PUBACK goes out when those of all earlier messages have. */
  settle(entry: Unacknowledged): void {
    entry.settled = true
    if (this.#closed || this.#waiting.peek() !== entry) {
      condense(entry)
      return
    }
    for (let head = this.#waiting.peek(); head?.settled === true; head = this.#waiting.peek()) {
      this.#waiting.shift()
      this.#ready.push(head)
    }
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.flush())
  }

  /** Sends what is ready, in one write a turn of the event loop: a third of the cost of one write each. */
  flush(): void {
    this.#scheduled = false
    const ready = this.#ready
    if (this.#closed || ready.length === 0) return
    this.#ready = []
    const frames = Buffer.allocUnsafe(ready.length * 4)
    let at = 0
    for (const { id, own } of ready) {
      if (!own) this.#sent += 1
      // PUBACK without reason code and properties means success in 3.1.1 and 5 alike (5.0, 3.4.2.1).
      frames[at] = 0x40
      frames[at + 1] = 0x02
      frames[at + 2] = id >> 8
      frames[at + 3] = id & 0xff
      at += 4
    }
    this.#client.stream.write(frames)
  }

  /** The connection is gone. Returns the messages for which no PUBACK was written: the broker still has each of them. */
  close(): Unacknowledged[] {
    this.#closed = true
    const left = [...this.#ready, ...this.#waiting.clear()]
    this.#ready = []
    for (const entry of left) {
      entry.owner = undefined
      if (entry.settled) condense(entry)
    }
    return left
  }
}
