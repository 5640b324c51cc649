/** `polling` of `/api/metrics`. A cycle is one slot of one device and interval. */
export interface PollingMetrics {
  readonly total_cycles: number
  readonly successful_cycles: number
  readonly failed_cycles: number
  readonly total_targets_polled: number
  readonly total_targets_success: number
  readonly total_targets_failed: number
  readonly success_rate_percent: number
  readonly average_cycle_duration_ms: number
  /** ISO 8601 UTC. */
  readonly last_cycle_time: string | null
  /** Slots that passed unused: the one before had not ended, or the process could not run. */
  readonly skipped_slots: number
  /** How late slots began, milliseconds. */
  readonly average_lateness_ms: number
  /** 99 of 100 slots began no later, to half a millisecond. */
  readonly p99_lateness_ms: number
  readonly max_lateness_ms: number
  readonly published_messages: number
  readonly publish_failures: number
  readonly sink_failures: number
}

/** Width of a class of the lateness histogram, milliseconds, and how many there are; the last holds all that is later. */
const STEP_MS = 0.5
const STEPS = 2_000

export class PollCounter {
  readonly #lateness = new Uint32Array(STEPS)
  #cycles = 0
  #failedCycles = 0
  #targetsOk = 0
  #targetsFailed = 0
  #durationMs = 0
  #lastCycle: number | undefined
  #skipped = 0
  #latenessMs = 0
  #maxLatenessMs = 0
  #published = 0
  #publishFailures = 0
  #sinkFailures = 0

  cycle(facts: {
    readonly succeeded: number
    readonly failed: number
    readonly durationMs: number
    readonly now: number
  }): void {
    this.#cycles += 1
    if (facts.failed > 0) this.#failedCycles += 1
    this.#targetsOk += facts.succeeded
    this.#targetsFailed += facts.failed
    this.#durationMs += facts.durationMs
    this.#lastCycle = facts.now
  }

  began(latenessMs: number): void {
    this.#latenessMs += latenessMs
    this.#lateness[Math.min(STEPS - 1, Math.floor(latenessMs / STEP_MS))]! += 1
    if (latenessMs > this.#maxLatenessMs) this.#maxLatenessMs = latenessMs
  }

  skipped(slots: number): void {
    this.#skipped += slots
  }

  published(messages: number): void {
    this.#published += messages
  }

  publishFailed(): void {
    this.#publishFailures += 1
  }

  sinkFailed(): void {
    this.#sinkFailures += 1
  }

  metrics(): PollingMetrics {
    const targets = this.#targetsOk + this.#targetsFailed
    const share = (sum: number, of: number) => (of === 0 ? 0 : Math.round((sum / of) * 100) / 100)
    return {
      total_cycles: this.#cycles,
      successful_cycles: this.#cycles - this.#failedCycles,
      failed_cycles: this.#failedCycles,
      total_targets_polled: targets,
      total_targets_success: this.#targetsOk,
      total_targets_failed: this.#targetsFailed,
      success_rate_percent: share(this.#targetsOk * 100, targets),
      average_cycle_duration_ms: share(this.#durationMs, this.#cycles),
      last_cycle_time: this.#lastCycle === undefined ? null : new Date(this.#lastCycle).toISOString(),
      skipped_slots: this.#skipped,
      average_lateness_ms: share(this.#latenessMs, this.#cycles),
      p99_lateness_ms: this.#latenessOf(0.99),
      max_lateness_ms: Math.round(this.#maxLatenessMs * 100) / 100,
      published_messages: this.#published,
      publish_failures: this.#publishFailures,
      sink_failures: this.#sinkFailures,
    }
  }

  /** The upper end of the class in which `share` of the slots are reached. */
  #latenessOf(share: number): number {
    const total = this.#lateness.reduce((sum, count) => sum + count, 0)
    let left = total * share
    if (total === 0) return 0
    const step = this.#lateness.findIndex((count) => {
      left -= count
      return left <= 0
    })
    return Math.min((step + 1) * STEP_MS, Math.max(this.#maxLatenessMs, STEP_MS))
  }

  reset(): void {
    this.#lateness.fill(0)
    this.#cycles = this.#failedCycles = this.#targetsOk = this.#targetsFailed = 0
    this.#durationMs = this.#skipped = this.#latenessMs = this.#maxLatenessMs = 0
    this.#published = this.#publishFailures = this.#sinkFailures = 0
    this.#lastCycle = undefined
  }
}
