interface Offer {
  readonly send: (() => Promise<void>) | undefined
  readonly done: () => void
}

/**
 * One route replies: of several that run on a message, the most specific that has something to say. Each route offers
 * its answer, or nothing; an answer goes out as soon as every more specific route has said that it has none.
 */
export class ReplyTurn {
  readonly #offers: (Offer | undefined)[]
  #next = 0
  #answered = false

  constructor(routes: number) {
    this.#offers = new Array<Offer | undefined>(routes).fill(undefined)
  }

  /** Resolves when the answer is handed over, or another route's goes out instead. The first offer of a route counts. */
  offer(rank: number, send?: () => Promise<void>): Promise<void> {
    if (this.#offers[rank] !== undefined) return Promise.resolve()
    return new Promise((done) => {
      this.#offers[rank] = { send, done }
      this.#advance()
    })
  }

  #advance(): void {
    for (let offer = this.#offers[this.#next]; offer !== undefined; offer = this.#offers[this.#next]) {
      this.#next += 1
      if (offer.send === undefined || this.#answered) {
        offer.done()
        continue
      }
      this.#answered = true
      offer.send().then(offer.done, offer.done)
    }
  }
}
