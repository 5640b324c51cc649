import { MAX_PDU } from './answer-length.js'
import type { Decoder, Framing, Received } from './framing.js'

const HEADER = 7
const NOTHING: Buffer = Buffer.alloc(0)

/** MBAP: transaction id, protocol id 0, length, unit (Messaging on TCP/IP V1.0b, 3.1.3). */
export const mbapFraming: Framing = { hasTransactionIds: true, encode, decoder: () => new StreamDecoder() }

/** The same in datagrams: one frame each, and a datagram that is none is dropped alone. */
export const mbapDatagramFraming: Framing = { hasTransactionIds: true, encode, decoder: () => new DatagramDecoder() }

function encode(transaction: number, rtu: Buffer): Buffer {
  const length = rtu.length - 2
  const frame = Buffer.allocUnsafe(6 + length)
  frame.writeUInt16BE(transaction, 0)
  frame.writeUInt16BE(0, 2)
  frame.writeUInt16BE(length, 4)
  rtu.copy(frame, 6, 0, length)
  return frame
}

function headerProblem(bytes: Buffer, at: number): string | undefined {
  if (bytes.readUInt16BE(at + 2) !== 0) return `protocol id ${bytes.readUInt16BE(at + 2)} instead of 0`
  const length = bytes.readUInt16BE(at + 4)
  // A function of the device may answer with nothing but its code.
  return length >= 2 && length <= MAX_PDU + 1 ? undefined : `length field ${length}`
}

function frameAt(bytes: Buffer, at: number, length: number): Received {
  return {
    transaction: bytes.readUInt16BE(at),
    unit: bytes[at + 6]!,
    pdu: bytes.subarray(at + HEADER, at + 6 + length),
  }
}

class StreamDecoder implements Decoder {
  readonly unsettled = false
  #rest: Buffer = NOTHING

  push(bytes: Buffer): readonly Received[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    const frames: Received[] = []
    let at = 0
    while (all.length - at >= 6) {
      const problem = headerProblem(all, at)
      // Where the next frame begins is anybody's guess from here on; only a new connection helps.
      if (problem !== undefined) throw new Error(`not a Modbus TCP frame: ${problem}`)
      const length = all.readUInt16BE(at + 4)
      if (all.length - at < 6 + length) break
      frames.push(frameAt(all, at, length))
      at += 6 + length
    }
    this.#rest = at === all.length ? NOTHING : Buffer.from(all.subarray(at))
    return frames
  }

  settle(): undefined {}

  reset(): void {
    // Frames are told apart by their ids: cutting a half-received one would only lose the place in the stream.
  }
}

class DatagramDecoder implements Decoder {
  readonly unsettled = false

  push(bytes: Buffer): readonly Received[] {
    if (bytes.length < HEADER + 1 || headerProblem(bytes, 0) !== undefined) return []
    const length = bytes.readUInt16BE(4)
    return bytes.length === 6 + length ? [frameAt(bytes, 0, length)] : []
  }

  settle(): undefined {}

  reset(): void {}
}
