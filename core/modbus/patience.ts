/** How long a caller waits. */
export interface Patience {
  /** Monotonic milliseconds. */
  readonly deadline?: number | undefined
  readonly signal?: AbortSignal | undefined
}
