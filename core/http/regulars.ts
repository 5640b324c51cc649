/** Addresses remembered, and callers of each; beyond that the one that came first is forgotten. */
const MAX_ADDRESSES = 5_000
const MAX_CALLERS = 100

/** Which callers were let in from where. Asked before every request: two look-ups, and nothing is made. */
export class Regulars {
  readonly #callers = new Map<string, Set<string>>()

  has(address: string, caller: string): boolean {
    return this.#callers.get(address)?.has(caller) === true
  }

  add(address: string, caller: string): void {
    let callers = this.#callers.get(address)
    if (callers === undefined) {
      callers = new Set()
      this.#callers.set(address, callers)
      forgetFirst(this.#callers, MAX_ADDRESSES)
    }
    callers.add(caller)
    forgetFirst(callers, MAX_CALLERS)
  }
}

function forgetFirst(known: Map<string, unknown> | Set<string>, max: number): void {
  if (known.size <= max) return
  const [first] = known.keys()
  known.delete(first!)
}
