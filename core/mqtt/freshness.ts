import type { Clock } from '../support/clock.js'

/** Below this a message counts as having come straight through. */
const FRESH_MS = 1_000
const MARK_EVERY_MS = 250
/** A process that was stopped, or a machine that slept, shows as a gap between two beats. */
const BEAT_MS = 250

/**
 * How long a message can have waited, at the broker or in our own socket, before it reached us.
 *
 * Mostly: not at all. But a broker queues for a session whose client is away, that has stopped reading or that owes
 * acknowledgements, and a process that is stopped for a while finds old messages in its socket. After any of these the lane sends itself marks over its own topic: a broker keeps the order of what it
 * queues for one client, so whatever arrives after a mark reached the broker after the mark was sent.
 */
export class Freshness {
  readonly #clock: Clock
  readonly #sendMark: (mark: string) => void
  readonly #isHolding: () => boolean
  /** Monotonic; what arrives now reached the broker no earlier. Undefined: unknown. Meaningless while caught up. */
  #floor: number | undefined
  /** Monotonic; whatever an earlier connection left without an acknowledgement reached the broker no earlier. */
  #sessionFloor: number | undefined
  #caughtUp = true
  #usable = false
  #outstanding: { readonly mark: string; readonly sentAt: number } | undefined
  #cancel = () => {}
  #cancelBeat = () => {}
  /** Monotonic; when this process was last known to run. */
  #beatAt = 0
  /** Monotonic; set from the end of a stall until what it left in the socket has been read. */
  #stalledSince: number | undefined
  #number = 0
  readonly #nonce = Math.random().toString(36).slice(2)

  /** `isHolding`: whether the broker may be queueing for us right now. */
  constructor(clock: Clock, sendMark: (mark: string) => void, isHolding: () => boolean) {
    this.#clock = clock
    this.#sendMark = sendMark
    this.#isHolding = isHolding
  }

  get caughtUp(): boolean {
    return this.#caughtUp
  }

  /** The longest that a message arriving now can have waited; undefined when unknown. */
  queuedAtMostMs(): number | undefined {
    if (this.#caughtUp) return 0
    return this.#floor === undefined ? undefined : this.#clock.monotonic() - this.#floor
  }

  /** The longest that a message which comes again can have waited since it reached the broker; undefined when unknown. */
  redeliveredAfterAtMostMs(): number | undefined {
    return this.#sessionFloor === undefined ? undefined : this.#clock.monotonic() - this.#sessionFloor
  }

  /** How much of that a message can have spent in our own socket, because this process did not run. Asked before the rest. */
  inSocketAtMostMs(): number {
    this.#noticeStall()
    return this.#stalledSince === undefined ? 0 : this.#clock.monotonic() - this.#stalledSince
  }

  /**
   * A connection is up. `lostAt`: nothing that the session held when the one before was lost reached the broker earlier;
   * undefined where that is unknown.
   */
  connected(sessionPresent: boolean, lostAt: number | undefined): void {
    this.#outstanding = undefined
    this.#usable = false
    this.#cancelBeat()
    this.#stalledSince = undefined
    this.#beat()
    this.#sessionFloor = !sessionPresent || lostAt === undefined ? undefined : lostAt - FRESH_MS
    if (!sessionPresent) {
      this.#caughtUp = true
      return
    }
    if (this.#caughtUp) this.#floor = lostAt === undefined ? undefined : lostAt - FRESH_MS
    this.#caughtUp = false
  }

  /** The own topic is subscribed: marks will arrive. */
  usable(): void {
    this.#usable = true
    if (!this.#caughtUp) this.#mark()
  }

  disconnected(): void {
    this.#cancel()
    this.#cancelBeat()
    this.#usable = false
    this.#outstanding = undefined
  }

  /** The broker may begin to queue from now on: we stopped reading, or owe it acknowledgements. */
  holding(): void {
    if (!this.#caughtUp) return
    this.#caughtUp = false
    // "Caught up" allowed for that much.
    this.#floor = this.#clock.monotonic() - FRESH_MS
    this.#later()
  }

  /** A message came on the own topic. */
  received(mark: string): void {
    if (this.#outstanding === undefined || mark !== this.#outstanding.mark) return
    this.#floor = this.#outstanding.sentAt
    this.#stalledSince = undefined
    this.#outstanding = undefined
    if (this.#clock.monotonic() - this.#floor < FRESH_MS && !this.#isHolding()) this.#caughtUp = true
    else this.#later()
  }

  #beat(): void {
    this.#beatAt = this.#clock.monotonic()
    this.#cancelBeat = this.#clock.after(
      BEAT_MS,
      () => {
        // What waits in the socket may be read after this beat: it has to be told now.
        this.#noticeStall()
        this.#beat()
      },
      { unref: true },
    )
  }

  #noticeStall(): void {
    const now = this.#clock.monotonic()
    if (now - this.#beatAt < FRESH_MS) return
    this.#stalledSince ??= this.#beatAt
    const ranUntil = this.#beatAt
    this.#beatAt = now
    // Marks that were sent before say nothing about what came during the stall.
    this.#outstanding = undefined
    if (this.#caughtUp) this.#floor = ranUntil - FRESH_MS
    this.#caughtUp = false
    this.#cancel()
    this.#mark()
  }

  #later(): void {
    this.#cancel()
    this.#cancel = this.#clock.after(MARK_EVERY_MS, () => this.#mark(), { unref: true })
  }

  #mark(): void {
    if (!this.#usable || this.#caughtUp || this.#outstanding !== undefined) return
    this.#number += 1
    this.#outstanding = { mark: `${this.#nonce}-${this.#number}`, sentAt: this.#clock.monotonic() }
    this.#sendMark(this.#outstanding.mark)
  }
}
