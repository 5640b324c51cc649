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

/** Where samples go to be kept. `accept` resolves when the sink takes them; a slow sink is back-pressure. */
export interface SampleSink {
  accept(samples: readonly Sample[]): Promise<void>
}
