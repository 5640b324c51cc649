import type { BlockReading, PointReading } from '../modbus/field.js'

/** What one poll of one target brought: the raw block, the points inside it, and the slot it belongs to. */
export interface Sample {
  readonly target_id: number
  readonly device_id: string
  readonly block: BlockReading
  readonly points: readonly PointReading[]
  /** Slot number on the grid: k of t0 + kT. */
  readonly slot: number
}

/** Where samples go to be kept. */
export interface SampleSink {
  /**
   * Resolves when the sink takes them; a slow sink is back-pressure. `onDurable` is called once they survive the end of the
   * process, and never where one of them was given up.
   */
  accept(samples: readonly Sample[], onDurable?: () => void): Promise<void>
}
