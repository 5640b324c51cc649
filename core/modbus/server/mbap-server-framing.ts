import { MAX_PDU } from '../transport/answer-length.js'
import type { RequestDecoder, RequestFrame, ServerFraming } from './server-framing.js'

const NOTHING: Buffer = Buffer.alloc(0)

/** MBAP over a stream. */
export const mbapServerFraming: ServerFraming = {
  hasTransactionIds: true,
  decoder: () => new StreamDecoder(),
  encode,
  // No checksum of its own: what goes wrong here is the length.
  corrupt(frame) {
    const broken = Buffer.from(frame)
    broken.writeUInt16BE(broken.readUInt16BE(4) + 1, 4)
    return broken
  },
}

/** MBAP in datagrams: what is no whole frame is dropped. */
export const mbapDatagramServerFraming: ServerFraming = {
  ...mbapServerFraming,
  decoder: () => ({
    unsettled: false,
    settle: () => [],
    push: (bytes) => {
      if (bytes.length < 8 || bytes.readUInt16BE(2) !== 0 || bytes.length !== 6 + bytes.readUInt16BE(4)) return []
      return [frameAt(bytes, 0, bytes.length - 6)]
    },
  }),
}

function encode(transaction: number, unit: number, pdu: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(7 + pdu.length)
  frame.writeUInt16BE(transaction, 0)
  frame.writeUInt16BE(0, 2)
  frame.writeUInt16BE(pdu.length + 1, 4)
  frame[6] = unit
  frame.set(pdu, 7)
  return frame
}

function frameAt(bytes: Buffer, at: number, length: number): RequestFrame {
  return { transaction: bytes.readUInt16BE(at), unit: bytes[at + 6]!, pdu: bytes.subarray(at + 7, at + 6 + length) }
}

class StreamDecoder implements RequestDecoder {
  // What is missing of a frame may take its time: the header says where it ends.
  readonly unsettled = false
  #rest = NOTHING

  settle(): readonly RequestFrame[] {
    return []
  }

  push(bytes: Buffer): readonly RequestFrame[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    const frames: RequestFrame[] = []
    let at = 0
    while (all.length - at >= 6) {
      const [protocol, length] = [all.readUInt16BE(at + 2), all.readUInt16BE(at + 4)]
      if (protocol !== 0 || length < 2 || length > MAX_PDU + 1) {
        throw new Error(`not a Modbus TCP frame: protocol id ${protocol}, length ${length}`)
      }
      if (all.length - at < 6 + length) break
      frames.push(frameAt(all, at, length))
      at += 6 + length
    }
    this.#rest = at === all.length ? NOTHING : Buffer.from(all.subarray(at))
    return frames
  }
}
