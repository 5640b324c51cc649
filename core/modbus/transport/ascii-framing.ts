import { lrc } from './checksum.js'
import type { Decoder, Framing, Received } from './framing.js'

const COLON = 0x3a
const LF = 0x0a
/** ':' + 2 characters for each of unit, PDU and LRC + CR LF (Modbus over Serial Line V1.02, 2.5.2.1). */
const MAX_CHARACTERS = 513

/** ASCII: a colon, two hexadecimal characters a byte, LRC, CR LF. A colon always begins a new frame. */
export const asciiFraming: Framing = {
  hasTransactionIds: false,
  encode: (_, rtu) => asciiFrame(rtu.subarray(0, -2)),
  decoder: () => new AsciiDecoder(),
}

/** Unit and PDU as an ASCII frame. */
export function asciiFrame(frame: Uint8Array): Buffer {
  const text = Buffer.concat([frame, Uint8Array.of(lrc(frame))])
    .toString('hex')
    .toUpperCase()
  return Buffer.from(`:${text}\r\n`, 'latin1')
}

/** Cuts a stream of characters into frames with a good LRC; used by both sides. */
export class AsciiDecoder implements Decoder {
  readonly unsettled = false
  readonly #characters = Buffer.alloc(MAX_CHARACTERS)
  /** Characters taken since the colon; -1 outside a frame. */
  #length = -1

  push(bytes: Buffer): readonly Received[] {
    const frames: Received[] = []
    for (const character of bytes) {
      if (character === COLON) this.#length = 0
      else if (this.#length < 0) continue
      else if (character === LF) {
        const frame = unpack(this.#characters.subarray(0, this.#length))
        if (frame !== undefined) frames.push(frame)
        this.#length = -1
      } else if (this.#length === MAX_CHARACTERS) this.#length = -1
      else this.#characters[this.#length++] = character
    }
    return frames
  }

  settle(): undefined {}

  reset(): void {
    this.#length = -1
  }
}

function unpack(characters: Buffer): Received | undefined {
  const text = characters.toString('latin1')
  if (!/^(?:[0-9A-Fa-f]{2}){3,}\r$/.test(text)) return undefined
  const frame = Buffer.from(text.slice(0, -1), 'hex')
  if (lrc(frame) !== 0) return undefined
  return { transaction: undefined, unit: frame[0]!, pdu: Buffer.from(frame.subarray(1, -1)) }
}
