/** What stands for all values of a label beyond its bound. */
export const OTHER = 'other'

/**
 * A label whose values come from outside: the first `max` different ones are kept, all later ones are counted as
 * `other`, so that no caller can make the metrics grow.
 *
 * @default max 200
 */
export class BoundedLabel {
  readonly #seen = new Set<string>()
  readonly #max: number

  constructor(max = 200) {
    this.#max = max
  }

  of(value: string): string {
    if (this.#seen.has(value)) return value
    if (this.#seen.size >= this.#max) return OTHER
    this.#seen.add(value)
    return value
  }
}
