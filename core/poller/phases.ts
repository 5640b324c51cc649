/** Steps of the golden ratio spread any number of phases evenly, and those already given never move. */
const GOLDEN = 0.618_033_988_749_895

/**
 * Slots of many buses begin together, so often a second or interval: a process that wakes up for ten reads at a time takes
 * half the processor time of one that wakes up for each.
 */
const RASTER_MS = 20
const RASTERS = 50

/** Where in their intervals slots lie: spread over the interval among those of one bus. */
export class Phases {
  /** How many each bus was given. */
  readonly #given = new Map<string, number>()

  /** Milliseconds after the beginning of the interval. */
  next(bus: string, intervalMs: number): number {
    const nth = this.#given.get(bus) ?? 0
    this.#given.set(bus, nth + 1)
    // Buses begin at different places too, or all of them would send at once.
    const start = [...bus].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 9_973, 7) / 9_973
    const raster = Math.min(RASTER_MS, intervalMs / RASTERS)
    return (Math.round((((start + nth * GOLDEN) % 1) * intervalMs) / raster) * raster) % intervalMs
  }
}
