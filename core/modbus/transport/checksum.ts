const TABLE = new Uint16Array(256)
for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte
  for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xa001 : crc >>> 1
  TABLE[byte] = crc
}

/** CRC-16 of RTU frames over `bytes[start, end)` (Modbus over Serial Line V1.02, 6.2.2). Sent low byte first. */
export function crc16(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let crc = 0xffff
  for (let at = start; at < end; at += 1) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]!) & 0xff]!
  return crc
}

/** Longitudinal redundancy check of ASCII frames, over the bytes before they become characters (V1.02, 6.2.1). */
export function lrc(bytes: Uint8Array): number {
  let sum = 0
  for (const byte of bytes) sum += byte
  return -sum & 0xff
}

/** `frame` with its CRC behind it: a whole RTU frame. */
export function withCrc(frame: Uint8Array): Buffer {
  const whole = Buffer.allocUnsafe(frame.length + 2)
  whole.set(frame)
  whole.writeUInt16LE(crc16(frame), frame.length)
  return whole
}
