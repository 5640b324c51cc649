import { type Clock, systemClock } from '../../support/clock.js'
import { RouteMQError } from '../../support/errors.js'
import type { Context, Middleware, MiddlewareFactory } from '../context.js'
import { identityOf } from './identity.js'
import { type Limiter, memoryLimiter, type ThrottleStrategy } from './limiter.js'
import { redisLimiter } from './redis-limiter.js'

export interface ThrottleOptions {
  /** Messages in a window, where the route does not say. @default 60 */
  readonly max?: number
  /** Window in seconds, where the route does not say. @default 60 */
  readonly seconds?: number
  /** What is counted apart: `topic`, `client`, `route`, or a parameter by name. @default topic */
  readonly by?: string
  /** `fixed` windows, a `sliding` window, or `token`s that refill evenly. @default fixed */
  readonly strategy?: ThrottleStrategy
  /** Keys counted at a time in this process. @default 10_000 */
  readonly maxKeys?: number
  /**
   * A client of ioredis or node-redis: the limit then holds for all workers and installations together. While it is away each
   * process counts for itself.
   *
   * @default none
   */
  readonly redis?: unknown
  /** @default systemClock */
  readonly clock?: Clock
}

const STRATEGIES: readonly ThrottleStrategy[] = ['fixed', 'sliding', 'token']
const AWAY_WARNING_MS = 60_000

/**
 * Refuses messages over a limit: THROTTLED with `details.retry_after` in seconds. In a route: `throttle:100,60` (100 in
 * 60 seconds a topic), `throttle:100,60,device_id` (for each value of that parameter), `throttle:10,1,client,token`.
 * Counted in the memory of each worker unless a Redis client is given. Routes that write the same text share a limit.
 */
export function throttle(options: ThrottleOptions = {}): MiddlewareFactory {
  return (...args) => {
    const max = checkMax(numberOf(args[0]) ?? options.max ?? 60)
    const windowMs = checkWindow(numberOf(args[1]) ?? options.seconds ?? 60)
    const by = given(args[2]) ?? options.by ?? 'topic'
    const strategy = strategyOf(given(args[3])) ?? options.strategy ?? 'fixed'
    if (options.redis !== undefined && strategy === 'fixed' && windowMs % 1_000 !== 0) {
      throw new RouteMQError('ROUTER_INVALID', 'throttle counts fixed windows of whole seconds in Redis')
    }
    const clock = options.clock ?? systemClock
    const limits = { max, windowMs, maxKeys: options.maxKeys ?? 10_000, now: () => clock.monotonic() }
    const fallback = memoryLimiter(strategy, limits)
    const outage = new OutageNotes(clock)
    const limiter =
      options.redis === undefined
        ? fallback
        : redisLimiter(strategy, {
            ...limits,
            client: options.redis,
            // Everything that makes a limit another one; a strategy keeps its state in its own form too.
            prefix: `routemq:throttle:${strategy}:${max}/${windowMs}:${by}`,
            fallback,
            onAway: outage.note,
          })
    return limit(limiter, by, outage)
  }
}

function limit(limiter: Limiter, by: string, outage: OutageNotes): Middleware {
  return function throttle(ctx, next) {
    const pass = (wait: number) => {
      outage.tell(ctx)
      if (wait > 0) refuse(wait, by)
      return next()
    }
    const wait = limiter.take(keyOf(ctx, by))
    // In memory the answer is there: no promise is made for it.
    return typeof wait === 'number' ? pass(wait) : wait.then(pass)
  }
}

/** Says once a minute that the shared counters cannot be reached. */
class OutageNotes {
  readonly #clock: Clock
  #toldAt = Number.NEGATIVE_INFINITY
  #error: Error | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  readonly note = (error: Error): void => {
    this.#error = error
  }

  tell(ctx: Context): void {
    if (this.#error === undefined) return
    const now = this.#clock.monotonic()
    if (now - this.#toldAt >= AWAY_WARNING_MS) {
      this.#toldAt = now
      ctx.log.warn({ reason: this.#error.message }, 'throttle counts in this process while Redis is away')
    }
    this.#error = undefined
  }
}

function refuse(waitMs: number, by: string): never {
  const retryAfter = Math.ceil(waitMs / 1_000)
  throw new RouteMQError('THROTTLED', `too many messages for this ${by}; try again in ${retryAfter} s`, {
    details: { retry_after: retryAfter, by },
  })
}

function keyOf(ctx: Context, by: string): string {
  switch (by) {
    case 'topic':
      return ctx.topic
    case 'route':
      return ctx.route.id
    case 'client':
      // MQTT does not tell a receiver who published; what authentication found out does.
      return identityOf(ctx)?.name ?? 'anonymous'
    default:
      return String(Object.hasOwn(ctx.params, by) ? ctx.params[by] : '')
  }
}

function given(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}

function numberOf(text: string | undefined): number | undefined {
  return given(text) === undefined ? undefined : Number(text)
}

function checkMax(max: number): number {
  if (Number.isInteger(max) && max > 0) return max
  throw new RouteMQError('ROUTER_INVALID', `the number of messages is a whole number above 0, not ${max}`)
}

function checkWindow(seconds: number): number {
  const windowMs = Math.round(seconds * 1_000)
  if (Number.isFinite(windowMs) && windowMs > 0) return windowMs
  throw new RouteMQError('ROUTER_INVALID', `the number of seconds is at least 0.001, not ${seconds}`)
}

function strategyOf(text: string | undefined): ThrottleStrategy | undefined {
  if (text === undefined) return undefined
  const strategy = STRATEGIES.find((known) => known === text)
  if (strategy !== undefined) return strategy
  throw new RouteMQError('ROUTER_INVALID', `throttle counts ${STRATEGIES.join(', ')}, not "${text}"`)
}
