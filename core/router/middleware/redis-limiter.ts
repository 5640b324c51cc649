import type { RateLimiterRedis } from 'rate-limiter-flexible'
import type { Limiter, LimiterOptions, ThrottleStrategy } from './limiter.js'
import { isIoredis, takeInRedis } from './redis-script.js'

/** How long one answer of Redis is waited for. */
const ANSWER_MS = 500

export interface RedisLimiterOptions extends LimiterOptions {
  /** A client of ioredis or node-redis. */
  readonly client: unknown
  readonly prefix: string
  /** Counts in this process while Redis is away or slow. */
  readonly fallback: Limiter
  /** Hears each failure. */
  readonly onAway: (error: Error) => void
}

/** Counts in Redis, so that all workers and installations share a limit. */
export function redisLimiter(strategy: ThrottleStrategy, options: RedisLimiterOptions): Limiter {
  const take = strategy === 'fixed' ? fixedWindows(options) : scripted(strategy, options)
  return {
    async take(key) {
      try {
        return await take(key)
      } catch (error) {
        options.onAway(error instanceof Error ? error : new Error(String(error)))
        return options.fallback.take(key)
      }
    },
  }
}

function fixedWindows(options: RedisLimiterOptions): (key: string) => Promise<number> {
  // Loaded only where it is used: it costs every worker a twentieth of a second.
  const library = import('rate-limiter-flexible')
  library.catch(() => undefined) // Reported by each message that awaits it.
  let limiter: RateLimiterRedis | undefined
  return async (key) => {
    const { RateLimiterRedis, RateLimiterRes } = await library
    limiter ??= new RateLimiterRedis({
      storeClient: options.client,
      points: options.max,
      duration: options.windowMs / 1_000,
      keyPrefix: options.prefix,
      rejectIfRedisNotReady: true,
      useRedisPackage: !isIoredis(options.client),
    })
    try {
      await withLimit(limiter.consume(key))
      return 0
    } catch (refused) {
      if (refused instanceof RateLimiterRes) return Math.max(1, refused.msBeforeNext)
      throw refused
    }
  }
}

function scripted(strategy: 'sliding' | 'token', options: RedisLimiterOptions): (key: string) => Promise<number> {
  const take = takeInRedis(strategy, options)
  return (key) => withLimit(take(key))
}

async function withLimit<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Redis did not answer within ${ANSWER_MS} ms`)), ANSWER_MS)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
    answer.catch(() => undefined) // It may still fail after it was given up.
  }
}
