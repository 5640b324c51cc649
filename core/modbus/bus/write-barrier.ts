interface Busy {
  count: number
  writing: boolean
}

/** A write goes alone on its unit: nothing of the unit is in flight when it starts, nothing starts before it ended. */
export class WriteBarrier {
  /** By unit; an entry stays when its last request ends, there are at most 256. */
  readonly #units: (Busy | undefined)[] = []

  lets(unit: number, writes: boolean): boolean {
    const busy = this.#units[unit]
    return busy === undefined || busy.count === 0 || !(busy.writing || writes)
  }

  started(unit: number, writes: boolean): void {
    const busy = this.#units[unit]
    if (busy === undefined) this.#units[unit] = { count: 1, writing: writes }
    else {
      busy.count += 1
      busy.writing = writes
    }
  }

  ended(unit: number): void {
    this.#units[unit]!.count -= 1
  }
}
