import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 10

export interface ProcessStats {
  readonly memory_rss_bytes: number
  readonly memory_heap_bytes: number
  readonly memory_external_bytes: number
  readonly cpu_seconds_total: number
  readonly uptime_seconds: number
  /** Lateness of the event loop since the last look, seconds. */
  readonly event_loop_lag_p50_seconds: number
  readonly event_loop_lag_p99_seconds: number
  readonly event_loop_lag_max_seconds: number
}

/** Looks at this process; light enough for workers. `stop()` ends the measuring. */
export class ProcessWatch {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })

  constructor() {
    this.#delay.enable()
  }

  read(): ProcessStats {
    const memory = process.memoryUsage()
    const cpu = process.cpuUsage()
    const { min } = this.#delay
    // The histogram measures the period of a timer of `RESOLUTION_MS`; empty, it answers with absurd bounds.
    const empty = !Number.isFinite(this.#delay.mean) || min > 1e15
    const lag = (nanoseconds: number) => (empty ? 0 : Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3))
    const stats = {
      memory_rss_bytes: memory.rss,
      memory_heap_bytes: memory.heapUsed,
      memory_external_bytes: memory.external,
      cpu_seconds_total: (cpu.user + cpu.system) / 1e6,
      uptime_seconds: process.uptime(),
      event_loop_lag_p50_seconds: lag(this.#delay.percentile(50)),
      event_loop_lag_p99_seconds: lag(this.#delay.percentile(99)),
      event_loop_lag_max_seconds: lag(this.#delay.max),
    }
    this.#delay.reset()
    return stats
  }

  stop(): void {
    this.#delay.disable()
  }
}
