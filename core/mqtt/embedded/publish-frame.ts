/** A PUBLISH as MQTT 3.1.1 puts it on the wire (3.1.1, 3.3), in one buffer. */
export function publishFrame(packet: {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  /** Packet identifier, used for QoS 1 and 2 only. */
  readonly id: number
}): Buffer {
  const topicBytes = Buffer.byteLength(packet.topic)
  const remaining = 2 + topicBytes + (packet.qos > 0 ? 2 : 0) + packet.payload.length
  const lengthBytes = remaining < 128 ? 1 : remaining < 16_384 ? 2 : remaining < 2_097_152 ? 3 : 4
  const frame = Buffer.allocUnsafe(1 + lengthBytes + remaining)
  frame[0] = 0x30 | (packet.dup ? 0x08 : 0) | (packet.qos << 1) | (packet.retain ? 0x01 : 0)
  let at = 1
  let rest = remaining
  do {
    frame[at] = (rest % 128) | (rest >= 128 ? 0x80 : 0)
    rest = Math.floor(rest / 128)
    at += 1
  } while (rest > 0)
  at = frame.writeUInt16BE(topicBytes, at)
  at += frame.write(packet.topic, at)
  if (packet.qos > 0) at = frame.writeUInt16BE(packet.id, at)
  packet.payload.copy(frame, at)
  return frame
}

/** PUBREL (3.1.1, 3.6). */
export function pubrelFrame(id: number): Buffer {
  return Buffer.from([0x62, 0x02, id >> 8, id & 0xff])
}
