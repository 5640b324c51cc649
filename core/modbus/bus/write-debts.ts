interface Debt {
  ms: number
  writes: number
}

/**
 * Bus time that the writes of each device took while polls were waiting, until polls had as much. It counts time, not
 * requests: at 9,600 baud a long write takes as long as six polls.
 */
export class WriteDebts {
  readonly #byDevice = new Map<string, Debt>()

  get any(): boolean {
    return this.#byDevice.size > 0
  }

  /** Writes of a device that are not made up for. */
  writes(device: string): number {
    return this.#byDevice.get(device)?.writes ?? 0
  }

  /** A write held the bus for `ms` while a poll was waiting. */
  took(device: string, ms: number): void {
    const debt = this.#byDevice.get(device)
    if (debt === undefined) this.#byDevice.set(device, { ms, writes: 1 })
    else {
      debt.ms += ms
      debt.writes += 1
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
