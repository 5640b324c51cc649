import type { ValueMessage } from './message.js'

export interface ValueFrames {
  readonly bytes: Buffer
  /** Messages in them; those that do not fit the broker are left out. */
  readonly count: number
}

/**
 * PUBLISH packets of QoS 0 as they go on the wire (MQTT 5.0, 3.3; 3.1.1 without the properties), all in one buffer: the
 * client library takes eight times as long for a value as this does, and a poller publishes thousands a second.
 */
export function valueFrames(
  messages: readonly ValueMessage[],
  protocol: 4 | 5,
  maxPacketBytes = Number.POSITIVE_INFINITY,
): ValueFrames {
  const propertiesBytes = protocol === 5 ? 1 : 0
  const fitting: { readonly message: ValueMessage; readonly topicBytes: number; readonly remaining: number }[] = []
  let total = 0
  for (const message of messages) {
    const topicBytes = Buffer.byteLength(message.topic)
    const remaining = 2 + topicBytes + propertiesBytes + Buffer.byteLength(message.payload)
    const size = 1 + lengthBytes(remaining) + remaining
    if (size > maxPacketBytes) continue
    fitting.push({ message, topicBytes, remaining })
    total += size
  }
  const bytes = Buffer.allocUnsafe(total)
  let at = 0
  for (const { message, topicBytes, remaining } of fitting) {
    bytes[at++] = message.retain ? 0x31 : 0x30
    for (let rest = remaining; ; rest = Math.floor(rest / 128)) {
      bytes[at++] = (rest % 128) | (rest >= 128 ? 0x80 : 0)
      if (rest < 128) break
    }
    bytes[at++] = topicBytes >> 8
    bytes[at++] = topicBytes & 0xff
    at += bytes.write(message.topic, at)
    if (propertiesBytes === 1) bytes[at++] = 0
    at += bytes.write(message.payload, at)
  }
  return { bytes, count: fitting.length }
}

/** Bytes that a remaining length takes (MQTT 5.0, 1.5.5). */
function lengthBytes(remaining: number): number {
  return remaining < 128 ? 1 : remaining < 16_384 ? 2 : remaining < 2_097_152 ? 3 : 4
}
