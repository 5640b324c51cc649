import { crc32 } from 'node:zlib'

/**
 * One record on disk: magic, length and checksum, 4 bytes each, then the data. The checksum covers length, data and the
 * position of the frame in the log, so that a frame copied to another place, or one inside a record, is never taken for
 * a record of its own.
 */
export const FRAME_HEADER_BYTES = 12
const MAGIC = Buffer.from('RQSP', 'latin1')

export type FrameAt =
  | { readonly kind: 'frame'; readonly data: Buffer; readonly size: number }
  /** The chunk ends before the frame does; `need` is how many bytes from its start it claims to have. */
  | { readonly kind: 'short'; readonly need: number }
  | { readonly kind: 'bad' }

function checksum(position: number, data: Buffer): number {
  const seed = Buffer.allocUnsafe(12)
  seed.writeUInt32BE(data.length, 0)
  seed.writeBigUInt64BE(BigInt(position), 4)
  return crc32(data, crc32(seed))
}

/** The frames of `records`, the first of which stands at `position` of the log. */
export function encodeFrames(records: readonly Buffer[], position: number): Buffer {
  const out = Buffer.allocUnsafe(records.reduce((sum, data) => sum + FRAME_HEADER_BYTES + data.length, 0))
  let at = 0
  for (const data of records) {
    MAGIC.copy(out, at)
    out.writeUInt32BE(data.length, at + 4)
    out.writeUInt32BE(checksum(position + at, data), at + 8)
    data.copy(out, at + FRAME_HEADER_BYTES)
    at += FRAME_HEADER_BYTES + data.length
  }
  return out
}

/** The frame at index `at` of `chunk`, whose first byte stands at `position` of the log. */
export function frameAt(chunk: Buffer, at: number, position: number): FrameAt {
  if (chunk.length - at < FRAME_HEADER_BYTES) return { kind: 'short', need: FRAME_HEADER_BYTES }
  if (MAGIC.compare(chunk, at, at + 4) !== 0) return { kind: 'bad' }
  const length = chunk.readUInt32BE(at + 4)
  const size = FRAME_HEADER_BYTES + length
  if (chunk.length - at < size) return { kind: 'short', need: size }
  const data = chunk.subarray(at + FRAME_HEADER_BYTES, at + size)
  return checksum(position + at, data) === chunk.readUInt32BE(at + 8) ? { kind: 'frame', data, size } : { kind: 'bad' }
}

/** Index of the first intact frame at or after `from`, -1 where there is none: how reading goes on after bit rot. */
export function nextFrame(chunk: Buffer, from: number, position: number): number {
  for (let at = chunk.indexOf(MAGIC, from); at !== -1; at = chunk.indexOf(MAGIC, at + 1)) {
    if (frameAt(chunk, at, position).kind === 'frame') return at
  }
  return -1
}
