import type { Clock } from '../../support/clock.js'

const NOTHING: Buffer = Buffer.alloc(0)
const COLON = 0x3a
/** Functions whose answers no slave takes for a request: they show whether the line gives them back. */
const TELLING: ReadonlySet<number> = new Set([1, 2, 3, 4, 23])
/** An echo comes while it is sent, and in the next lump of an adapter (16 ms); no master asks again that soon. */
const AT_ONCE_MS = 50

/**
 * Takes what a slave hears of its own answers out: many two-wire adapters hear what they send. The answers to functions 5,
 * 6 and 22 are requests once more, so a slave on such a line would answer itself without end.
 */
export class OwnEcho {
  readonly #clock: Clock
  readonly #characterMs: number
  /** Undefined until an answer to a read went out. */
  #isPresent: boolean | undefined
  /** The last answer; undefined once it is known what came back of it. */
  #frame: Buffer | undefined
  #isTelling = false
  #endsAt = 0
  #matched = 0

  constructor(clock: Clock, characterMs: number) {
    this.#clock = clock
    this.#characterMs = characterMs
  }

  sent(frame: Buffer): void {
    const isAscii = frame[0] === COLON && frame.at(-1) === 0x0a
    const functionCode = isAscii ? Number.parseInt(frame.toString('latin1', 3, 5), 16) : frame[1]!
    this.#frame = frame
    this.#isTelling = TELLING.has(functionCode)
    this.#endsAt = this.#clock.monotonic() + frame.length * this.#characterMs + AT_ONCE_MS
    this.#matched = 0
  }

  /** What is left of bytes that came in; nothing while they may be the beginning of the echo. */
  pass(bytes: Buffer): Buffer {
    const frame = this.#frame
    if (frame === undefined) return bytes
    // Nobody knows the line yet, and a master may well write the same once more.
    const mayBeRequest = !this.#isTelling && this.#isPresent !== true && this.#matched === 0
    if (mayBeRequest && (this.#isPresent === false || this.#clock.monotonic() > this.#endsAt)) {
      this.#frame = undefined
      return bytes
    }
    const length = Math.min(bytes.length, frame.length - this.#matched)
    if (frame.compare(bytes, 0, length, this.#matched, this.#matched + length) !== 0) {
      if (this.#isTelling) this.#isPresent = false
      this.#frame = undefined
      return this.#matched === 0 ? bytes : Buffer.concat([frame.subarray(0, this.#matched), bytes])
    }
    this.#matched += length
    if (this.#matched < frame.length) return NOTHING
    if (this.#isTelling) this.#isPresent = true
    this.#frame = undefined
    return bytes.subarray(length)
  }
}
