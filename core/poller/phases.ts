/** Steps of the golden ratio spread any number of phases evenly, and those already given never move. */
const GOLDEN = 0.618_033_988_749_895

/**
 * Slots of many buses begin together, so often a second or interval: a process that wakes up for ten reads at a time takes
 * half the processor time of one that wakes up for each.
 */
const RASTER_MS = 20
const RASTERS = 50

/** A place in the interval, until it is given back. */
export interface Phase {
  /** Milliseconds after the beginning of the interval. */
  readonly ms: number
  giveBack(): void
}

/** Where in their intervals slots lie: spread over the interval among those of one bus. */
export class Phases {
  /** Steps in use on each bus. */
  readonly #taken = new Map<string, Set<number>>()

  take(bus: string, intervalMs: number): Phase {
    const taken = this.#taken.get(bus) ?? new Set<number>()
    this.#taken.set(bus, taken)
    // The first ones lie furthest apart: one that was given back goes before one that is new.
    let nth = 0
    while (taken.has(nth)) nth += 1
    taken.add(nth)
    return {
      ms: phaseOf(bus, nth, intervalMs),
      giveBack: () => {
        taken.delete(nth)
        if (taken.size === 0 && this.#taken.get(bus) === taken) this.#taken.delete(bus)
      },
    }
  }
}

function phaseOf(bus: string, nth: number, intervalMs: number): number {
  // Buses begin at different places too, or all of them would send at once.
  const start = [...bus].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 9_973, 7) / 9_973
  const raster = Math.min(RASTER_MS, intervalMs / RASTERS)
  return (Math.round((((start + nth * GOLDEN) % 1) * intervalMs) / raster) * raster) % intervalMs
}
