import type { Clock } from '../support/clock.js'

export interface ClockWatchOptions {
  readonly clock: Clock
  /** The wall clock moved by so many milliseconds against the monotonic one; negative: back. */
  readonly onStep: (ms: number) => void
  /** @default 1000 */
  readonly everyMs?: number
}

/** Smaller corrections are slewing, which no timestamp suffers from. */
const STEP_MS = 500

/**
 * Notices when somebody sets the clock, or the machine slept. Intervals and deadlines do not care, they are monotonic;
 * timestamps before and after do not fit together, and whoever reads them should know. Returns what ends it.
 */
export function watchClock({ clock, onStep, everyMs = 1_000 }: ClockWatchOptions): () => void {
  const offset = () => clock.now() - clock.monotonic()
  let known = offset()
  let cancel = () => {}
  const again = () => {
    cancel = clock.after(
      everyMs,
      () => {
        const step = offset() - known
        known += step
        if (Math.abs(step) >= STEP_MS) onStep(Math.round(step))
        again()
      },
      { unref: true },
    )
  }
  again()
  return () => cancel()
}
