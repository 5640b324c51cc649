import type { IPublishPacket } from 'mqtt'
import type { Freshness } from './freshness.js'
import type { InboundMessage } from './message.js'
import { fromWireProperties, subscriptionIds } from './properties.js'

const EMPTY = Buffer.alloc(0)

/**
 * A received packet as the delivery engine takes it. A payload over `maxBytes` is left out and its size told, so that the
 * sender gets an answer and nothing keeps the bytes.
 */
export function toInbound(
  packet: IPublishPacket,
  payload: Buffer,
  maxBytes: number,
  receivedAt: number,
  freshness: Pick<Freshness, 'caughtUp' | 'queuedAtMostMs' | 'redeliveredAfterAtMostMs' | 'inSocketAtMostMs'>,
): InboundMessage {
  const inSocketMs = freshness.inSocketAtMostMs()
  const oversize = payload.length > maxBytes
  const message: { -readonly [K in keyof InboundMessage]: InboundMessage[K] } = {
    topic: packet.topic,
    payload: oversize ? EMPTY : payload,
    qos: packet.qos,
    retain: packet.retain,
    dup: packet.dup,
    properties: fromWireProperties(packet.properties),
    receivedAt: receivedAt - inSocketMs,
    subscriptionIds: subscriptionIds(packet.properties),
    fresh: !packet.dup && !packet.retain && freshness.caughtUp,
  }
  if (oversize) message.oversize = payload.length
  // A retained message says nothing about when it was sent.
  if (!packet.retain && !message.fresh) {
    const queued = packet.dup ? freshness.redeliveredAfterAtMostMs() : freshness.queuedAtMostMs()
    if (queued !== undefined) message.queuedAtMostMs = Math.max(0, queued - inSocketMs)
  }
  return message
}
