import type { Clock } from '../../support/clock.js'
import type { Received } from './framing.js'
import { afterPollTurn } from './poll-turn.js'

/** A copy of an answer was seen: for so long copies are expected to take longer, as they do where a peer stalls. */
const SUSPICIOUS_FOR_MS = 10_000
const SUSPICIOUS_MS = 200
/** The share of its own time that a request with little of it waits for such late copies: the rest is to end in time. */
const SUSPICIOUS_SHARE = 0.9
/** The most characters a byte of a PDU costs (ASCII), and what stands around it. */
const CHARACTERS_PER_BYTE = 2
const CHARACTERS_AROUND = 8

export interface AnswerCopiesOptions {
  /** Milliseconds after an answer in which a copy of it may begin. */
  readonly copyMs: number
  /** Milliseconds a character takes on the line, 0 where there is none. */
  readonly characterMs: number
  readonly clock: Clock
}

/**
 * Tells a copy of the last answer from the answer to the next request, where frames carry no ids.
 *
 * A converter that repeats, a line that echoes: the copy follows its original at once, yet in the next lump of an
 * adapter (16 ms) or after a stall of its process it meets a request that was already sent, and fits it. So an answer
 * that equals the last one, byte by byte, waits until a copy could no longer be under way. If another answer comes
 * meanwhile, the first was the copy and the second is the answer: lines keep the order of what they carry. Only equal
 * answers to requests sent right after each other wait; everything else is taken as it comes.
 */
export class AnswerCopies {
  readonly #options: AnswerCopiesOptions
  #last: Received | undefined
  #lastAt = Number.NEGATIVE_INFINITY
  #suspiciousUntil = Number.NEGATIVE_INFINITY
  /** Defined while a copy of the last answer may still come to the request in flight. */
  #cancelWindow: (() => void) | undefined

  constructor(options: AnswerCopiesOptions) {
    this.#options = options
  }

  /** Notes the answer that a request got, `at` on the monotonic clock. */
  taken({ transaction, unit, pdu }: Received, at: number): void {
    this.#last = { transaction, unit, pdu: Buffer.from(pdu) }
    this.#lastAt = at
  }

  /** Notes a frame that nobody waited for. */
  stray(frame: Received): void {
    if (this.isLast(frame)) this.seen()
  }

  /** Notes that the line does make copies. */
  seen(): void {
    this.#suspiciousUntil = this.#options.clock.monotonic() + SUSPICIOUS_FOR_MS
  }

  /**
   * A request goes out. `onOver` runs when a copy of the last answer can no longer come, unless {@link ended} is called
   * before: after its time and then a turn of the event loop, which may have been late itself. `timeoutMs` bounds how long
   * late copies are waited for, or every equal answer to a request of little time would end as nonsense while they are.
   */
  sent(onOver: () => void, timeoutMs = Number.POSITIVE_INFINITY): void {
    if (this.#last === undefined) return
    const { clock, copyMs, characterMs } = this.#options
    const now = clock.monotonic()
    const wireMs = (this.#last.pdu.length * CHARACTERS_PER_BYTE + CHARACTERS_AROUND) * characterMs
    const usual = this.#lastAt + wireMs + copyMs - now
    const late = now < this.#suspiciousUntil ? this.#lastAt + wireMs + SUSPICIOUS_MS - now : usual
    const left = Math.max(usual, Math.min(late, timeoutMs * SUSPICIOUS_SHARE))
    if (left <= 0) return
    const over = () => {
      this.#cancelWindow = undefined
      onOver()
    }
    this.#cancelWindow = clock.after(
      left,
      () => {
        this.#cancelWindow = afterPollTurn(over)
      },
      { unref: true },
    )
  }

  /** The request is over. */
  ended(): void {
    this.#cancelWindow?.()
    this.#cancelWindow = undefined
  }

  /** True where `frame` may be a copy of the last answer instead of the answer to the request in flight. */
  mayBe(frame: Received): boolean {
    return this.#cancelWindow !== undefined && this.isLast(frame)
  }

  isLast({ unit, pdu }: Received): boolean {
    return this.#last !== undefined && this.#last.unit === unit && this.#last.pdu.equals(pdu)
  }
}
