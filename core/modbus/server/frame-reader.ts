import type { Clock } from '../../support/clock.js'
import { afterPollTurn } from '../transport/poll-turn.js'
import type { ServerFraming } from './server-framing.js'
import type { Peer, Slave } from './slave.js'

/** What is unfinished after a silence waits for its rest this much longer. */
const LONG_SILENCES = 10

/** The requests of one stream of bytes, handed to the slave as they become whole. */
export class FrameReader {
  readonly #decoder: ReturnType<ServerFraming['decoder']>
  readonly #handle: (request: Parameters<Slave['receive']>[0]) => void
  readonly #clock: Clock
  readonly #settleMs: number
  #cancelSettle: (() => void) | undefined

  constructor(slave: Slave, framing: ServerFraming, peer: Peer, settleMs: number, clock: Clock) {
    this.#decoder = framing.decoder()
    this.#handle = (request) => slave.receive(request, framing, peer)
    this.#settleMs = settleMs
    this.#clock = clock
  }

  /** @throws Error where the stream can no longer be followed */
  push(bytes: Buffer): void {
    this.#cancelSettle?.()
    this.#cancelSettle = undefined
    for (const request of this.#decoder.push(bytes)) this.#handle(request)
    this.#settleAfter(this.#settleMs)
  }

  close(): void {
    this.#cancelSettle?.()
    this.#cancelSettle = undefined
  }

  /** The silence counts once nothing waits in the kernel either: a process held up finds its timers over first. */
  #settleAfter(ms: number): void {
    if (!this.#decoder.unsettled) return
    const settle = () => {
      for (const request of this.#decoder.settle()) this.#handle(request)
      this.#settleAfter(LONG_SILENCES * this.#settleMs)
    }
    this.#cancelSettle = this.#clock.after(ms, () => {
      this.#cancelSettle = afterPollTurn(settle)
    })
  }
}
