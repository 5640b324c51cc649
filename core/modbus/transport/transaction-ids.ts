/** Odd, so that every id has its turn, and near the golden section of 65536, so that neighbours in time lie far apart. */
const STRIDE = 40_503

/**
 * Ids from 1 to 65535, in strides: an id comes again only long after whoever could answer it late has, and a device that
 * counts its ids wrong by a little names no other call in flight.
 */
export class TransactionIds {
  #last = 0

  /** The next id that no call in flight has. */
  next(inFlight: ReadonlyMap<number, unknown>): number {
    do this.#last = (this.#last + STRIDE) & 0xffff
    while (this.#last === 0 || inFlight.has(this.#last))
    return this.#last
  }
}
