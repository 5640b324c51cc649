import type { Unit } from './unit.js'

const MOST = 10_000

/**
 * Keys, or topics where a route has no order, whose messages were held too long and have not succeeded since. What
 * arrives for them is parked at once, so that a dead device costs its lane one wait and not one for every message.
 */
export class Stalls {
  readonly #fates = new Set<string>()

  has(unit: Unit): boolean {
    return this.#fates.size > 0 && this.#fates.has(nameOf(unit))
  }

  add(unit: Unit): void {
    if (this.#fates.size >= MOST) this.#fates.clear()
    this.#fates.add(nameOf(unit))
  }

  delete(unit: Unit): void {
    if (this.#fates.size > 0) this.#fates.delete(nameOf(unit))
  }

  clear(): void {
    if (this.#fates.size > 0) this.#fates.clear()
  }
}

function nameOf(unit: Unit): string {
  return `${unit.route.id}\0${unit.fate}`
}
