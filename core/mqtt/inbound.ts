import type { IPublishPacket } from 'mqtt'
import type { Freshness } from './freshness.js'
import type { InboundMessage } from './message.js'
import { fromWireProperties, subscriptionIds } from './properties.js'
import { MAX_PROPERTY_BYTES, PROPERTY_WEIGHT } from './publish-properties.js'

const EMPTY = Buffer.alloc(0)

/** Bytes of properties of a packet, whoever read it: what neither topic, packet id nor payload account for. */
export function propertyBytesOf({ topic, qos, length = 0 }: IPublishPacket, payload: Buffer): number {
  const rest = length - payload.length
  // Without properties there is no need to count.
  return rest <= 4 + topic.length ? 0 : rest - 2 - Buffer.byteLength(topic) - (qos === 0 ? 0 : 2)
}

/** What a message takes in memory while its handlers have it; about, and rather too much. */
export function weightOf({ topic, length = 0 }: IPublishPacket, payload: Buffer, propertyBytes: number): number {
  // Nothing was made of them, but what is left of the packet keeps all of its bytes.
  if (propertyBytes > MAX_PROPERTY_BYTES) return length
  return payload.length + topic.length + PROPERTY_WEIGHT * propertyBytes
}

/**
 * A received packet as the delivery engine takes it. A payload over `maxBytes` is left out and its size told, so that the
 * sender gets an answer and nothing keeps the bytes; so is one with too many properties, of which only those to answer by stay.
 */
export function toInbound(
  packet: IPublishPacket,
  payload: Buffer,
  propertyBytes: number,
  maxBytes: number,
  receivedAt: number,
  freshness: Pick<Freshness, 'caughtUp' | 'queuedAtMostMs' | 'redeliveredAfterAtMostMs' | 'inSocketAtMostMs'>,
): InboundMessage {
  const inSocketMs = freshness.inSocketAtMostMs()
  const oversize = payload.length > maxBytes
  const overdressed = propertyBytes > MAX_PROPERTY_BYTES
  const message: { -readonly [K in keyof InboundMessage]: InboundMessage[K] } = {
    topic: packet.topic,
    payload: oversize || overdressed ? EMPTY : payload,
    qos: packet.qos,
    retain: packet.retain,
    dup: packet.dup,
    properties: fromWireProperties(overdressed ? withoutUserProperties(packet) : packet.properties),
    receivedAt: receivedAt - inSocketMs,
    subscriptionIds: subscriptionIds(packet.properties),
    fresh: !packet.dup && !packet.retain && freshness.caughtUp,
  }
  if (oversize) message.oversize = payload.length
  else if (overdressed) message.withheld = 'PROPERTIES_TOO_LARGE'
  // A retained message says nothing about when it was sent.
  if (!packet.retain && !message.fresh) {
    const queued = packet.dup ? freshness.redeliveredAfterAtMostMs() : freshness.queuedAtMostMs()
    if (queued !== undefined) message.queuedAtMostMs = Math.max(0, queued - inSocketMs)
  }
  return message
}

function withoutUserProperties({ properties }: IPublishPacket): IPublishPacket['properties'] {
  const { userProperties: _, ...rest } = properties ?? {}
  return rest
}
