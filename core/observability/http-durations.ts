import type { MetricFamily } from './metrics.js'

export interface HttpObservation {
  readonly method: string
  /** The pattern, never the path. */
  readonly route: string
  readonly status: number
  readonly seconds: number
}

/** Upper bounds, seconds. */
const BOUNDS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10] as const

interface Cell {
  readonly labels: Readonly<Record<string, string>>
  /** One for each bound, and one for what was longer. */
  readonly counts: number[]
  sum: number
}

/**
 * Times of HTTP requests, counted by method, pattern and class of the status: a histogram as Prometheus knows it. Our own
 * because it stands after every request: prom-client checks and joins the labels anew for each (benchmarks/cases/http.ts).
 */
export class HttpDurations {
  /** By route, then method, then class of the status: a key of all three would be put together and hashed each time. */
  readonly #routes = new Map<string, Map<string, Cell[]>>()

  observe({ method, route, status, seconds }: HttpObservation): void {
    const level = Math.floor(status / 100)
    const cell = this.#routes.get(route)?.get(method)?.[level] ?? this.#open(route, method, level)
    let at = 0
    while (at < BOUNDS.length && seconds > BOUNDS[at]!) at += 1
    cell.counts[at]! += 1
    cell.sum += seconds
  }

  #open(route: string, method: string, level: number): Cell {
    const cell = { labels: { method, route, status: `${level}xx` }, counts: Array(BOUNDS.length + 1).fill(0), sum: 0 }
    const methods = this.#routes.get(route) ?? new Map<string, Cell[]>()
    const levels = methods.get(method) ?? []
    levels[level] = cell
    this.#routes.set(route, methods.set(method, levels))
    return cell
  }

  reset(): void {
    this.#routes.clear()
  }

  family(): MetricFamily {
    const name = 'routemq_http_request_duration_seconds'
    const cells = [...this.#routes.values()].flatMap((methods) => [...methods.values()].flatMap(Object.values<Cell>))
    const values = cells.flatMap(({ labels, counts, sum }) => {
      let value = 0
      const buckets = counts.map((count, at) => {
        value += count
        return { labels: { le: BOUNDS[at] ?? '+Inf', ...labels }, value, metricName: `${name}_bucket` }
      })
      return [
        ...buckets,
        { labels, value: sum, metricName: `${name}_sum` },
        { labels, value, metricName: `${name}_count` },
      ]
    })
    const help = 'Time from a request to the end of its answer, by path pattern'
    return { name, help, type: 'histogram', values }
  }
}
