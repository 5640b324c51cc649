/** Counts what comes under a key. */
export interface Limiter {
  /** 0: let it pass, it is counted. Else milliseconds after which it may be tried again; not counted. */
  take(key: string): number | Promise<number>
}

export type ThrottleStrategy = 'fixed' | 'sliding' | 'token'

/** Whole numbers, so that no rounding error makes a wait one that does not suffice. */
export interface LimiterOptions {
  readonly max: number
  readonly windowMs: number
  /** Keys remembered at a time; the one unused longest is forgotten first. */
  readonly maxKeys: number
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** A limiter in the memory of this process. */
export function memoryLimiter(strategy: ThrottleStrategy, options: LimiterOptions): Limiter {
  switch (strategy) {
    case 'fixed':
      return keyed(options, (now) => ({ start: now, count: 0 }), takeFixed)
    case 'sliding':
      return keyed(options, (now) => ({ start: now, count: 0, before: 0 }), takeSliding)
    case 'token':
      return keyed(options, (now) => ({ filled: options.max * options.windowMs, at: now }), takeToken)
    default:
      return strategy satisfies never
  }
}

function keyed<T>(
  options: LimiterOptions,
  fresh: (now: number) => T,
  take: (state: T, options: LimiterOptions, now: number) => number,
): Limiter {
  const states = new Map<string, T>()
  return {
    take(key) {
      const now = Math.floor(options.now())
      const state = states.get(key) ?? fresh(now)
      // Set again: a Map keeps the order of insertion, so the first is the one unused longest.
      states.delete(key)
      states.set(key, state)
      if (states.size > options.maxKeys) states.delete(states.keys().next().value!)
      return take(state, options, now)
    },
  }
}

function takeFixed(state: { start: number; count: number }, { max, windowMs }: LimiterOptions, now: number): number {
  if (now - state.start >= windowMs) {
    state.start = now
    state.count = 0
  }
  if (state.count >= max) return state.start + windowMs - now
  state.count += 1
  return 0
}

/** The window before counts with the share of it that still lies inside a window ending now. */
function takeSliding(
  state: { start: number; count: number; before: number },
  { max, windowMs }: LimiterOptions,
  now: number,
): number {
  const passed = Math.floor((now - state.start) / windowMs)
  if (passed > 0) {
    state.before = passed === 1 ? state.count : 0
    state.count = 0
    state.start += passed * windowMs
  }
  const elapsed = now - state.start
  if (state.before * (windowMs - elapsed) + (state.count + 1) * windowMs <= max * windowMs) {
    state.count += 1
    return 0
  }
  // When enough of the earlier window has slid out; a full present window must become the earlier one first.
  const free = max - 1 - state.count
  const from = free >= 0 ? slidOut(state.before, free, windowMs) : windowMs + slidOut(state.count, max - 1, windowMs)
  return from - elapsed
}

/** How far into a window the `count` of the window before weighs no more than `left`. */
function slidOut(count: number, left: number, windowMs: number): number {
  return Math.ceil((windowMs * (count - left)) / count)
}

/** A message costs `windowMs`, a millisecond refills `max`: tokens in units that stay whole numbers. */
function takeToken(state: { filled: number; at: number }, { max, windowMs }: LimiterOptions, now: number): number {
  state.filled = Math.min(max * windowMs, state.filled + (now - state.at) * max)
  state.at = now
  if (state.filled >= windowMs) {
    state.filled -= windowMs
    return 0
  }
  return Math.ceil((windowMs - state.filled) / max)
}
