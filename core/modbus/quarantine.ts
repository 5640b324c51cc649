/** Whether a device is polled. Times are monotonic milliseconds. */
export type QuarantineState =
  | { readonly name: 'polled'; readonly unanswered: number }
  | { readonly name: 'quarantined'; readonly since: number }

/** Polls in a row without an answer that take a device out of the polling. */
const UNANSWERED = 2

/** Takes a silent device out of the polling, until a probe or a caller finds it alive. */
export class Quarantine {
  #state: QuarantineState = { name: 'polled', unanswered: 0 }

  get state(): QuarantineState {
    return this.#state
  }

  get active(): boolean {
    return this.#state.name === 'quarantined'
  }

  /** Any answer of the device, an exception too. True when this ended a quarantine. */
  alive(): boolean {
    const ended = this.#state.name === 'quarantined'
    if (ended || (this.#state.name === 'polled' && this.#state.unanswered > 0)) {
      this.#state = { name: 'polled', unanswered: 0 }
    }
    return ended
  }

  /** A caller's request without an answer: the next poll without one is not the first. */
  doubt(): void {
    if (this.#state.name === 'polled') this.#state = { name: 'polled', unanswered: Math.max(1, this.#state.unanswered) }
  }

  /** A poll or probe without an answer. True when this began a quarantine. */
  silent(now: number): boolean {
    if (this.#state.name === 'quarantined') return false
    const unanswered = this.#state.unanswered + 1
    this.#state = unanswered >= UNANSWERED ? { name: 'quarantined', since: now } : { name: 'polled', unanswered }
    return unanswered >= UNANSWERED
  }
}

/** Times of a unit that was put off. */
interface Place {
  /** Until here nobody else is let through. */
  readonly heldUntil: number
  /** When it will have asked again if it still wants to. */
  readonly askedBy: number
}

/**
 * Lets probes of a bus's silent units through so that waiting for them costs at most a share of the bus's time: after
 * a probe that waited `w`, the next of any unit goes no sooner than `w / share` later. Units take turns; one that asks too
 * seldom to be waited for is passed over, and may then go one probe ahead of the budget when it asks.
 */
export class ProbeBudget {
  readonly #share: number
  #nextAt = Number.NEGATIVE_INFINITY
  /** Units that were put off, longest waiting first. */
  readonly #waiting = new Map<string, Place>()

  constructor(share = 0.05) {
    this.#share = share
  }

  /** True where `device`, which asks every `intervalMs`, may be probed now, costing at most `waitMs`. */
  claim(device: string, waitMs: number, intervalMs: number, now: number): boolean {
    const price = waitMs / this.#share
    const place = this.#waiting.get(device)
    const wasPassedOver = place !== undefined && place.heldUntil < now && now <= place.askedBy
    const isTurn = wasPassedOver
      ? now >= this.#nextAt - price
      : now >= this.#nextAt && this.#first(now, device) === device
    if (!isTurn) {
      const heldUntil = Math.max(place?.heldUntil ?? 0, now + Math.min(2 * intervalMs, price))
      this.#waiting.set(device, { heldUntil, askedBy: Math.max(place?.askedBy ?? 0, now + 2 * intervalMs) })
      return false
    }
    this.#waiting.delete(device)
    this.#nextAt = Math.max(now, this.#nextAt) + price
    return true
  }

  /**
   * The same for somebody who asks when he likes and keeps no turn: true where there is time left, or where he was let
   * through last ten probes ago and little was lent to others.
   */
  claimNow(waitMs: number, lastAt: number, now: number): boolean {
    const price = waitMs / this.#share
    const isOwed = now - lastAt >= 10 * price && this.#nextAt - now <= 2 * price
    if (now < this.#nextAt && !isOwed) return false
    this.#nextAt = Math.max(now, this.#nextAt) + price
    return true
  }

  /**
   * A probe cost what it took, not the whole wait: little where it was answered, nothing where it never went out. The next
   * may come that much sooner.
   */
  took(sentAt: number, now: number): void {
    this.#nextAt = Math.min(this.#nextAt, now + (now - sentAt) / this.#share)
  }

  /** Milliseconds until a probe may go at the soonest. */
  waitMs(now: number): number {
    return Math.max(0, this.#nextAt - now)
  }

  /** A unit that answers or is gone needs no turn. */
  forget(device: string): void {
    this.#waiting.delete(device)
  }

  /** Whose turn it is. A unit that stopped asking (its target is gone) must not hold the others up. */
  #first(now: number, fallback: string): string {
    for (const [device, { heldUntil, askedBy }] of this.#waiting) {
      if (heldUntil >= now) return device
      if (askedBy < now) this.#waiting.delete(device)
    }
    return fallback
  }
}
