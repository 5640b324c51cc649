/** Time as parts take it, so that tests can own it. Deadlines and intervals use `monotonic` only. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch, with a fraction. For timestamps, never for intervals. */
  now(): number
  /** Milliseconds on a clock that never steps. The zero point is arbitrary and differs between processes. */
  monotonic(): number
  /** Runs `run` once after `ms`. Returns a function that cancels it. Does not keep the process alive when `unref`. */
  after(ms: number, run: () => void, options?: { readonly unref?: boolean }): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run, options) {
    let left = ms
    // Beyond its longest delay setTimeout fires at once: a deadline years ahead would have passed.
    const next = () => {
      left -= LONGEST_TIMER_MS
      if (left > 0) arm()
      else run()
    }
    let timer: NodeJS.Timeout
    const arm = () => {
      timer = left > LONGEST_TIMER_MS ? setTimeout(next, LONGEST_TIMER_MS) : setTimeout(run, left)
      if (options?.unref === true) timer.unref()
    }
    arm()
    return () => clearTimeout(timer)
  },
}

/** 2^31 - 1, about 24.8 days. */
const LONGEST_TIMER_MS = 2_147_483_647

/** Resolves after `ms`, or rejects with the reason of `signal` when that aborts first. */
export function sleep(ms: number, signal?: AbortSignal, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
