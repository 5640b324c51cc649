import type { Unit } from './unit.js'

/** The units whose attempt runs now. An array with holes filled from its end: a `Set` of them is garbage by the megabyte. */
export class RunningUnits {
  readonly #units: Unit[] = []

  get size(): number {
    return this.#units.length
  }

  add(unit: Unit): void {
    if (unit.runningAt >= 0) return
    unit.runningAt = this.#units.length
    this.#units.push(unit)
  }

  delete(unit: Unit): void {
    const at = unit.runningAt
    if (at < 0) return
    const last = this.#units.pop()!
    unit.runningAt = -1
    if (last === unit) return
    this.#units[at] = last
    last.runningAt = at
  }

  clear(): void {
    for (const unit of this.#units.splice(0)) unit.runningAt = -1
  }

  [Symbol.iterator](): Iterator<Unit> {
    return this.#units[Symbol.iterator]()
  }
}
