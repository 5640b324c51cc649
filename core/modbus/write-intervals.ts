import type { WrittenRange } from './write-plan.js'

/** A write that comes too soon after another one. */
export interface TooSoon {
  /** The address that was written; null where one of the two writes is a function of the device's own. */
  readonly at: { readonly register_type: WrittenRange['register_type']; readonly address: number } | null
  readonly waitMs: number
}

/**
 * When the addresses of one unit were last written. A function of the device's own (no range) may write anything, so it
 * counts as a write of every address. Times are monotonic milliseconds.
 */
export class WriteIntervals {
  readonly #lastAt = new Map<string, number>()
  #lastFunctionAt = Number.NEGATIVE_INFINITY
  #lastAnyAt = Number.NEGATIVE_INFINITY

  tooSoon(range: WrittenRange | null, intervalMs: number, now: number): TooSoon | undefined {
    if (intervalMs === 0) return undefined
    const anywhere = (range === null ? this.#lastAnyAt : this.#lastFunctionAt) + intervalMs - now
    if (anywhere > 0) return { at: null, waitMs: anywhere }
    if (range === null) return undefined
    const { register_type } = range
    for (let address = range.address; address < range.address + range.count; address += 1) {
      const waitMs = (this.#lastAt.get(`${register_type}:${address}`) ?? Number.NEGATIVE_INFINITY) + intervalMs - now
      if (waitMs > 0) return { at: { register_type, address }, waitMs }
    }
    return undefined
  }

  wrote(range: WrittenRange | null, now: number): void {
    this.#lastAnyAt = now
    if (range === null) this.#lastFunctionAt = now
    else {
      const { register_type, address, count } = range
      for (let at = address; at < address + count; at += 1) this.#lastAt.set(`${register_type}:${at}`, now)
    }
  }
}
