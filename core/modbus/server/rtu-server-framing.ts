import { answerLength, MAX_PDU, UNKNOWN_YET } from '../transport/answer-length.js'
import { crc16, withCrc } from '../transport/checksum.js'
import { requestLength } from './request-length.js'
import type { RequestDecoder, RequestFrame, ServerFraming } from './server-framing.js'

const NOTHING: Buffer = Buffer.alloc(0)
const MAX_FRAME = MAX_PDU + 3
const MAX_WAITING = 4 * MAX_FRAME

/**
 * RTU as a slave hears it: requests to itself and to others, and what the others answer. A frame counts only once its
 * CRC agrees, and every frame is followed to its end, so foreign traffic neither writes here nor hides what comes next.
 */
export const rtuServerFraming: ServerFraming = {
  hasTransactionIds: false,
  decoder: () => new RtuRequestDecoder(),
  encode: (_, unit, pdu) => withCrc(Buffer.concat([Uint8Array.of(unit), pdu])),
  corrupt(frame) {
    const broken = Buffer.from(frame)
    broken[broken.length - 1]! ^= 0x01
    return broken
  },
}

/**
 * A silence does not end what was begun: a station that is held up, or the process that reads it, makes pauses within a
 * frame that are longer than those between frames. What is unfinished after a silence stays for its rest, but it hides
 * nothing any more: a request that begins with the bytes after the silence counts at once. A second silence ends it.
 */
class RtuRequestDecoder implements RequestDecoder {
  #bytes = NOTHING
  /** So many of them stood there unfinished when the line fell silent. */
  #old = 0

  get unsettled(): boolean {
    return this.#bytes.length > 0
  }

  push(bytes: Buffer): readonly RequestFrame[] {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    if (this.#bytes.length > MAX_WAITING) this.#dropTo(this.#bytes.length - MAX_FRAME)
    return this.#takeAll(false)
  }

  settle(): readonly RequestFrame[] {
    const frames = this.#takeAll(true)
    this.#dropTo(this.#old)
    this.#old = this.#bytes.length
    return frames
  }

  #takeAll(insist: boolean): RequestFrame[] {
    const frames: RequestFrame[] = []
    let at = 0
    let unfinished: number | undefined
    while (at < this.#bytes.length) {
      const found = frameAt(this.#bytes, at)
      if (found === 'none') {
        at += 1
      } else if (found !== 'unfinished') {
        if (found.isRequest) {
          const frame = this.#bytes.subarray(at, found.end - 2)
          frames.push({ transaction: 0, unit: frame[0]!, pdu: Buffer.from(frame.subarray(1)) })
        }
        at = found.end
        unfinished = undefined
      } else if (insist) {
        unfinished ??= at
        at += 1
      } else if (at < this.#old) {
        unfinished ??= at
        at = this.#old
      } else break
    }
    this.#dropTo(unfinished ?? at)
    return frames
  }

  #dropTo(at: number): void {
    this.#bytes = this.#bytes.subarray(at)
    this.#old = Math.max(0, this.#old - at)
  }
}

/** The frame that begins at `at`, as a request or as another slave's answer, where its CRC agrees. */
function frameAt(bytes: Buffer, at: number): { isRequest: boolean; end: number } | 'unfinished' | 'none' {
  if (bytes[at]! > 247) return 'none'
  const request = requestLength(bytes, at)
  // A function nobody knows has no known length: it ends where everything so far makes a good frame.
  const asRequest = check(bytes, at, request === 0 ? bytes.length - at : request)
  if (asRequest === 'good') return { isRequest: true, end: request === 0 ? bytes.length : at + request! }
  const answer = answerLength(NOTHING, bytes, at + 1, bytes.length)
  const asAnswer = check(bytes, at, answer === UNKNOWN_YET ? undefined : answer + 3)
  if (asAnswer === 'good') return { isRequest: false, end: at + answer + 3 }
  const isOpen = request === 0 && bytes[at + 1]! < 0x80 && bytes.length - at < MAX_FRAME
  return asRequest === 'unfinished' || asAnswer === 'unfinished' || isOpen ? 'unfinished' : 'none'
}

function check(bytes: Buffer, at: number, length: number | undefined): 'good' | 'unfinished' | 'none' {
  if (length === undefined) return 'unfinished'
  if (length < 4 || length > MAX_FRAME) return 'none'
  if (at + length > bytes.length) return 'unfinished'
  return bytes.readUInt16LE(at + length - 2) === crc16(bytes, at, at + length - 2) ? 'good' : 'none'
}
