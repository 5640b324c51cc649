import type { IPublishPacket } from 'mqtt'
import { PropertyReader, type PublishProperties } from './publish-properties.js'

/** Where the frame that begins at `at` ends; 0 while its length is not all there, -1 where it is none. */
export function frameEnd(bytes: Buffer, at: number): number {
  let length = 0
  for (let index = 1; index <= 4; index += 1) {
    const byte = bytes[at + index]
    if (byte === undefined) return 0
    length |= (byte & 0x7f) << (7 * (index - 1))
    if (byte < 0x80) return at + 1 + index + length
  }
  return -1
}

/**
 * A PUBLISH of QoS 0 or 1 in `bytes` from `at` to `end` (MQTT 5.0, 3.3; 3.1.1, 3.3). Undefined for every other packet, and for
 * one with a topic alias or a mistake in it: the client library knows what to do with those.
 */
export function readPublish(bytes: Buffer, at: number, end: number, protocol: number): IPublishPacket | undefined {
  const flags = bytes[at]!
  if (flags >> 4 !== 3) return undefined
  const qos = (flags >> 1) & 3
  let next = at + 2
  while (bytes[next - 1]! >= 0x80) next += 1
  const length = end - next
  const topicAt = next + 2
  if (qos > 1 || topicAt > end) return undefined
  next = topicAt + bytes.readUInt16BE(next)
  const topicEnd = next
  let messageId: number | undefined
  if (qos === 1) {
    if (next + 2 > end) return undefined
    messageId = bytes.readUInt16BE(next)
    next += 2
    if (messageId === 0) return undefined
  }
  let properties: PublishProperties | undefined
  if (protocol === 5) {
    if (next >= end) return undefined
    if (bytes[next] === 0) next += 1
    else {
      const reader = new PropertyReader(bytes, next, end)
      properties = reader.read()
      if (properties === undefined) return undefined
      next = reader.at
    }
  }
  if (topicEnd === topicAt || next > end) return undefined
  return {
    cmd: 'publish',
    length,
    topic: bytes.toString('utf8', topicAt, topicEnd),
    payload: bytes.subarray(next, end),
    qos: qos as 0 | 1,
    retain: (flags & 1) === 1,
    dup: (flags & 8) === 8,
    messageId,
    properties,
  } as IPublishPacket
}
