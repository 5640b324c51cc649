import type { Clock } from '../support/clock.js'

export interface VitalSignsOptions {
  /** A process that says nothing for so long stands still; 0 never. */
  readonly stallMs: number
  readonly memoryLimitMb: number | undefined
  readonly clock: Clock
  readonly onStall: () => void
  readonly onOutgrown: (memoryMb: number) => void
}

const LOOK_MS = 1_000
/** One high reading may be garbage not yet collected; so many in a row are a leak. */
const READINGS = 3

/** Whether one worker process turns, and whether it keeps to its memory. */
export class VitalSigns {
  readonly #options: VitalSignsOptions
  #heard = false
  /** Looks in a row at which nothing had come from the process since the last. */
  #silent = 0
  #over = 0
  #cancel = () => {}

  constructor(options: VitalSignsOptions) {
    this.#options = options
  }

  /** It said something. */
  heard(): void {
    this.#heard = true
  }

  /**
   * Watches from here on for an event loop that stands still: its lanes would hold what they have for ever. Counts looks
   * and not time, so that a gateway that stood still itself blames nobody.
   */
  watch(): void {
    const { clock, stallMs, onStall } = this.#options
    if (stallMs === 0) return
    this.#silent = this.#heard ? 0 : this.#silent + 1
    this.#heard = false
    if (this.#silent * LOOK_MS >= stallMs) {
      onStall()
      return
    }
    this.#cancel = clock.after(LOOK_MS, () => this.watch(), { unref: true })
  }

  weighed(memoryMb: number): void {
    const { memoryLimitMb, onOutgrown } = this.#options
    if (memoryLimitMb === undefined || memoryMb <= memoryLimitMb) {
      this.#over = 0
      return
    }
    this.#over += 1
    if (this.#over < READINGS) return
    this.#over = 0
    onOutgrown(memoryMb)
  }

  stop(): void {
    this.#cancel()
  }
}
