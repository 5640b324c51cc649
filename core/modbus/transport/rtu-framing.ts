import { answerLength, UNKNOWN_EVER, UNKNOWN_YET } from './answer-length.js'
import { crc16 } from './checksum.js'
import type { Decoder, Expected, Framing, Received } from './framing.js'

const NOTHING: Buffer = Buffer.alloc(0)
const MAX_FRAME = 256
/** More than this waiting can only be noise in front of what is wanted. */
const MAX_WAITING = 4 * MAX_FRAME

/**
 * RTU: unit, PDU, CRC, no length and no id. Frames end where their function says and the CRC agrees, never at a gap:
 * USB adapters and TCP converters deliver in lumps with gaps of their own.
 */
export const rtuFraming: Framing = {
  hasTransactionIds: false,
  encode: (_, rtu) => rtu,
  decoder: () => new RtuDecoder(),
}

class RtuDecoder implements Decoder {
  #bytes = NOTHING
  unsettled = false

  push(bytes: Buffer, expected: Expected | undefined): readonly Received[] {
    this.unsettled = false
    if (expected === undefined) {
      this.#bytes = NOTHING
      return []
    }
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    if (this.#bytes.length > MAX_WAITING) this.#bytes = Buffer.from(this.#bytes.subarray(-MAX_FRAME))
    const frames: Received[] = []
    for (let found = this.#take(expected, false); found !== undefined; found = this.#take(expected, false)) {
      frames.push(found)
    }
    return frames
  }

  settle(expected: Expected): Received | undefined {
    this.unsettled = false
    return this.#take(expected, true)
  }

  reset(): void {
    this.#bytes = NOTHING
    this.unsettled = false
  }

  /**
   * The first whole frame with a good CRC. Unless `insist`, not one that may lie inside an unfinished earlier one, nor one
   * whose function does not tell its length: bytes that begin a longer answer may have a good CRC by themselves.
   */
  #take(expected: Expected, insist: boolean): Received | undefined {
    const bytes = this.#bytes
    let unfinished = false
    for (let at = 0; at < bytes.length; at += 1) {
      const end = frameEnd(bytes, at, expected)
      if (end === undefined) unfinished = true
      if (end === undefined || end === 0) continue
      if (!insist && (unfinished || hasNoLength(bytes, at, expected))) {
        this.unsettled = true
        return undefined
      }
      this.#bytes = bytes.subarray(end)
      return { transaction: undefined, unit: bytes[at]!, pdu: Buffer.from(bytes.subarray(at + 1, end - 2)) }
    }
    return undefined
  }
}

function hasNoLength(bytes: Buffer, at: number, { request }: Expected): boolean {
  return answerLength(request, bytes, at + 1, bytes.length) === UNKNOWN_EVER
}

/** Where the frame that begins at `at` ends: 0 if none begins there, undefined while that cannot be told. */
function frameEnd(bytes: Buffer, at: number, { unit, request }: Expected): number | undefined {
  if (bytes[at] !== unit) return 0
  if (at + 1 === bytes.length) return undefined
  if ((bytes[at + 1]! & 0x7f) !== request[0]) return 0
  const length = answerLength(request, bytes, at + 1, bytes.length)
  if (length === UNKNOWN_YET) return undefined
  const end = length === UNKNOWN_EVER ? bytes.length : at + 1 + length + 2
  if (end - at > MAX_FRAME || end - at < 4) return length === UNKNOWN_EVER ? undefined : 0
  if (end > bytes.length) return undefined
  if (bytes.readUInt16LE(end - 2) === crc16(bytes, at, end - 2)) return end
  return length === UNKNOWN_EVER ? undefined : 0
}
