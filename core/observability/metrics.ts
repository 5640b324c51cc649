import {
  AggregatorRegistry,
  Counter,
  type CounterConfiguration,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  type HistogramConfiguration,
  Registry,
} from 'prom-client'
import { HttpDurations, type HttpObservation } from './http-durations.js'
import { ProcessWatch } from './process-stats.js'
import { type StatsReading, statsFamilies } from './stats-metrics.js'

/** One metric with its values: what crosses between processes and becomes the text of `/metrics`. */
export interface MetricFamily {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  readonly values: {
    readonly labels: Readonly<Record<string, string | number>>
    readonly value: number
    readonly metricName?: string
  }[]
}

/** All metrics of one process at one time; plain data, fit for IPC. */
export type MetricsSnapshot = readonly MetricFamily[]

interface StatsSource {
  readonly prefix: string
  read(): readonly StatsReading[]
}

type Own<T> = Omit<T, 'registers'>

/**
 * The metrics of one process. Counters, gauges and histograms are prom-client's; a part that keeps its own numbers hands
 * over a function that reads them. Every line carries the name of its process, so that merging keeps them apart.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #sources: StatsSource[] = []
  readonly #watch = new ProcessWatch()
  readonly #process: string
  readonly #http = new HttpDurations()

  constructor(options: { readonly process: string }) {
    this.#process = options.process
    this.stats('process', () => [{ labels: {}, stats: this.#watch.read() }])
  }

  counter<L extends string>(configuration: Own<CounterConfiguration<L>>): Counter<L> {
    return new Counter({ ...configuration, registers: [this.#registry] })
  }

  gauge<L extends string>(configuration: Own<GaugeConfiguration<L>>): Gauge<L> {
    return new Gauge({ ...configuration, registers: [this.#registry] })
  }

  histogram<L extends string>(configuration: Own<HistogramConfiguration<L>>): Histogram<L> {
    return new Histogram({ ...configuration, registers: [this.#registry] })
  }

  /** Adds the numbers that a part keeps about itself; read when asked for. A `process` label of its own is kept. */
  stats(prefix: string, read: () => readonly StatsReading[]): void {
    this.#sources.push({ prefix, read })
  }

  /** One answered HTTP request; the status is counted by its class. */
  observeHttp(request: HttpObservation): void {
    this.#http.observe(request)
  }

  async snapshot(): Promise<MetricsSnapshot> {
    const own = (await this.#registry.getMetricsAsJSON()) as unknown as MetricFamily[]
    const read = this.#sources.flatMap(({ prefix, read }) => statsFamilies(prefix, read()))
    return [...own, this.#http.family(), ...read].map((family) => this.#labelled(family))
  }

  /** The text of `/metrics`: this process, and the snapshots of others. */
  async text(others: readonly MetricsSnapshot[] = []): Promise<string> {
    return mergeMetrics([await this.snapshot(), ...others])
  }

  /** Counters and histograms begin again at zero; what parts count themselves is theirs to reset. */
  reset(): void {
    this.#registry.resetMetrics()
    this.#http.reset()
  }

  stop(): void {
    this.#watch.stop()
  }

  #labelled(family: MetricFamily): MetricFamily {
    const values = family.values.map((each) => ({ ...each, labels: { process: this.#process, ...each.labels } }))
    return { ...family, values }
  }
}

/** One text out of the metrics of several processes; values with the same name and labels are added up. */
export async function mergeMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  // prom-client would drop or average some kinds; here every process has its own label, so that adding is right.
  const summed = snapshots.map((families) => families.map((family) => ({ ...family, aggregator: 'sum' })))
  return AggregatorRegistry.aggregate(summed).metrics()
}
