import type { ModbusAnswer } from '../transport/transport.js'

/** Bytes of a request and its answer around the data, about. */
const FRAME_BYTES = 16

/** How long requests of one bus take, smoothed. Milliseconds; undefined before the first answer. */
export class RoundTrips {
  readonly #byteMs: number
  #roundTrip: number | undefined
  #turnaround: number | undefined

  /** @param byteMs What a byte takes on the wire */
  constructor(byteMs: number) {
    this.#byteMs = byteMs
  }

  get ms(): number | undefined {
    return this.#roundTrip
  }

  /** Without the time the bytes take: what a unit needs to begin to answer. */
  get turnaroundMs(): number | undefined {
    return this.#turnaround
  }

  took(ms: number, values: ModbusAnswer['values']): void {
    const data = typeof values[0] === 'boolean' ? values.length / 8 : values.length * 2
    this.#roundTrip = smooth(this.#roundTrip, ms)
    this.#turnaround = smooth(this.#turnaround, Math.max(0, ms - (FRAME_BYTES + data) * this.#byteMs))
  }
}

function smooth(before: number | undefined, now: number): number {
  return before === undefined ? now : before * 0.9 + now * 0.1
}
