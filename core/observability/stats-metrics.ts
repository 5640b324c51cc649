import type { MetricFamily } from './metrics.js'

const MAX_DEPTH = 3
/** Metrics that one source may make; a source is a fixed set of counters, not a table keyed by what users send. */
const MAX_PER_SOURCE = 200

/** Numbers a part keeps about itself, as its `stats()` gives them, and the labels they belong to. */
export interface StatsReading {
  readonly labels: Readonly<Record<string, string>>
  readonly stats: object
}

/**
 * Turns the numbers of plain stats objects into metrics: `{ inFlight: 3 }` under `lane` becomes `routemq_lane_in_flight`.
 * Names that end in `total` are counters, all others gauges; booleans are 0 and 1; texts and arrays are left out.
 */
export function statsFamilies(prefix: string, readings: readonly StatsReading[]): MetricFamily[] {
  const families = new Map<string, MetricFamily>()
  for (const { labels, stats } of readings) {
    let room = MAX_PER_SOURCE
    for (const [name, value] of numbersIn(stats, `routemq_${snake(prefix)}`, 0)) {
      room -= 1
      if (room < 0) break
      const family = families.get(name) ?? {
        name,
        help: `${name.replace('routemq_', '').replaceAll('_', ' ')}, as the part counts it`,
        type: name.endsWith('_total') ? 'counter' : 'gauge',
        values: [],
      }
      family.values.push({ labels, value })
      families.set(name, family)
    }
  }
  return [...families.values()]
}

function* numbersIn(stats: object, prefix: string, depth: number): Generator<readonly [string, number]> {
  for (const [key, value] of Object.entries(stats)) {
    const name = `${prefix}_${snake(key)}`
    if (typeof value === 'number' && Number.isFinite(value)) yield [name, value]
    else if (typeof value === 'bigint' || typeof value === 'boolean') yield [name, Number(value)]
    else if (typeof value === 'object' && value !== null && !Array.isArray(value) && depth < MAX_DEPTH) {
      yield* numbersIn(value, name, depth + 1)
    }
  }
}

function snake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .toLowerCase()
}
