interface Debt {
  ms: number
  writes: number
  /** When the last of them ended. */
  at: number
}

/** A device that stayed away for so many times what it owes is one that is written now and then: its next write goes. */
const FORGIVEN_AFTER = 8

/**
 * Bus time that the writes of each device took while polls were waiting, until polls had as much. It counts time, not
 * requests: at 9,600 baud a long write takes as long as six polls.
 */
export class WriteDebts {
  readonly #byDevice = new Map<string, Debt>()

  get any(): boolean {
    return this.#byDevice.size > 0
  }

  /** Writes of a device that polls are to make up for before its next one. */
  writes(device: string, now: number): number {
    const debt = this.#byDevice.get(device)
    return debt === undefined || now - debt.at >= FORGIVEN_AFTER * debt.ms ? 0 : debt.writes
  }

  /** A write held the bus for `ms` while a poll was waiting. */
  took(device: string, ms: number, now: number): void {
    const debt = this.#byDevice.get(device)
    if (debt === undefined) this.#byDevice.set(device, { ms, writes: 1, at: now })
    else {
      debt.ms += ms
      debt.writes += 1
      debt.at = now
    }
  }

  /** A poll had the bus for `ms`. Who owes most is paid for, so that polls get half however many devices are written. */
  paid(ms: number): void {
    let most: string | undefined
    let owed = Number.NEGATIVE_INFINITY
    for (const [device, debt] of this.#byDevice) {
      if (debt.ms <= owed) continue
      most = device
      owed = debt.ms
    }
    if (most === undefined) return
    if (owed <= ms) this.#byDevice.delete(most)
    else this.#byDevice.get(most)!.ms = owed - ms
  }

  /** No poll waits: nobody is owed anything. */
  clear(): void {
    if (this.#byDevice.size > 0) this.#byDevice.clear()
  }
}
