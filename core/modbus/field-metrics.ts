/** `modbus` of `/api/metrics`: requests that went to the wire or found no way there, polls and probes included. */
export interface ModbusMetrics {
  readonly total_requests: number
  readonly successful_requests: number
  readonly failed_requests: number
  readonly success_rate_percent: number
  readonly average_latency_ms: number
  /** By operation: `read_holding`, `write_coil`, … */
  readonly requests_by_type: Readonly<Record<string, number>>
  /** By error code. */
  readonly errors_by_type: Readonly<Record<string, number>>
}

/** Counts requests. The names come from fixed tables, so nothing here grows with use. */
export class RequestCounter {
  #ok = 0
  #failed = 0
  #latencyMs = 0
  readonly #byType = new Map<string, number>()
  readonly #errors = new Map<string, number>()

  succeeded(type: string, latencyMs: number): void {
    this.#ok += 1
    this.#latencyMs += latencyMs
    this.#byType.set(type, (this.#byType.get(type) ?? 0) + 1)
  }

  failed(type: string, code: string): void {
    this.#failed += 1
    this.#byType.set(type, (this.#byType.get(type) ?? 0) + 1)
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1)
  }

  metrics(): ModbusMetrics {
    const total = this.#ok + this.#failed
    return {
      total_requests: total,
      successful_requests: this.#ok,
      failed_requests: this.#failed,
      success_rate_percent: total === 0 ? 0 : round((this.#ok / total) * 100),
      average_latency_ms: this.#ok === 0 ? 0 : round(this.#latencyMs / this.#ok),
      requests_by_type: Object.fromEntries(this.#byType),
      errors_by_type: Object.fromEntries(this.#errors),
    }
  }

  reset(): void {
    this.#ok = this.#failed = this.#latencyMs = 0
    this.#byType.clear()
    this.#errors.clear()
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
