import type { Clock } from '../../support/clock.js'
import type { ReadingWrite } from '../readings/reading.js'

export interface RowBufferOptions {
  readonly clock: Clock
  /** Rows of a batch. */
  readonly batchRows: number
  /** Milliseconds a row waits for its batch to fill at most. */
  readonly batchMs: number
}

/** Rows in the order taken, given out in batches. */
export class RowBuffer {
  readonly #options: RowBufferOptions
  #rows: ReadingWrite[] = []
  #oldestAt = 0
  #wake = () => {}

  constructor(options: RowBufferOptions) {
    this.#options = options
  }

  get length(): number {
    return this.#rows.length
  }

  push(rows: readonly ReadingWrite[]): void {
    if (this.#rows.length === 0) this.#oldestAt = this.#options.clock.monotonic()
    for (const row of rows) this.#rows.push(row)
  }

  /** The oldest, at most so many. */
  take(most: number): ReadingWrite[] {
    let batch = this.#rows
    // Cut out of an array that stays, rows would go on being seen from its memory, and all of them would grow old.
    if (batch.length <= most) this.#rows = []
    else batch = this.#rows.splice(0, most)
    this.#oldestAt = this.#options.clock.monotonic()
    return batch
  }

  clear(): void {
    this.#rows = []
  }

  /** Ends a wait of {@link due} to look again. */
  wake(): void {
    this.#wake()
  }

  /** True where waiting for more would fill no batch. */
  get isFull(): boolean {
    return this.#rows.length >= this.#options.batchRows
  }

  /** Waits until there is a batch that is full or old enough, or any row while `wanted`, or until `ended`. */
  async due(wanted: () => boolean, ended: () => boolean): Promise<void> {
    const { batchMs, clock } = this.#options
    for (;;) {
      if (this.isFull || ended()) return
      const left = this.#oldestAt + batchMs - clock.monotonic()
      const isEmpty = this.#rows.length === 0
      if (!isEmpty && (left <= 0 || wanted())) return
      await new Promise<void>((resolve) => {
        const cancel = isEmpty ? () => {} : clock.after(left, resolve)
        this.#wake = () => {
          cancel()
          resolve()
        }
      })
    }
  }
}
