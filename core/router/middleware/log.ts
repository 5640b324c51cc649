import { type Clock, systemClock } from '../../support/clock.js'
import { RouteMQError } from '../../support/errors.js'
import type { Context, Middleware, MiddlewareFactory } from '../context.js'

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const
type Level = (typeof LEVELS)[number]

export interface LogOptions {
  /** @default debug */
  readonly level?: Level
  /** Lines per route and second; what is over is counted and named in the next line. 0: all. @default 10 */
  readonly perSecond?: number
  /** @default systemClock */
  readonly clock?: Clock
}

interface Sampling {
  second: number
  lines: number
  skipped: number
}

/**
 * One line a message: outcome, milliseconds, bytes, attempt. Never the payload, so no credential can reach a log.
 * In a route: `log`, `log:info`, `log:info,100`.
 */
export function logMessages(options: LogOptions = {}): MiddlewareFactory {
  const factory = (levelText?: string, perSecondText?: string) =>
    logger({
      level: levelOf(levelText) ?? options.level ?? 'debug',
      perSecond: countOf(perSecondText) ?? options.perSecond ?? 10,
      clock: options.clock ?? systemClock,
    })
  // Outside of everything, also of authentication: what that refuses is worth a line, and no line holds a payload.
  return Object.assign(factory, { priority: 200 })
}

function logger({ level, perSecond, clock }: Required<LogOptions>): Middleware {
  const samplings = new Map<string, Sampling>()
  const write = (ctx: Context, startedAt: number, outcome: object, sentence: string) => {
    const skipped = perSecond === 0 ? 0 : admit(samplings, ctx.route.id, perSecond, clock.monotonic())
    if (skipped === undefined) return
    const facts = {
      ...outcome,
      duration_ms: Math.round((clock.monotonic() - startedAt) * 100) / 100,
      qos: ctx.message.qos,
      bytes: ctx.raw.length,
      attempt: ctx.attempt,
      ...(skipped > 0 && { skipped }),
    }
    ctx.log[level](facts, sentence)
  }
  return async function log(ctx, next) {
    const startedAt = clock.monotonic()
    try {
      const result = await next()
      write(ctx, startedAt, {}, 'handled')
      return result
    } catch (error) {
      const code = error instanceof RouteMQError ? error.code : 'HANDLER_FAILED'
      write(ctx, startedAt, { code, reason: error instanceof Error ? error.message : String(error) }, 'failed')
      throw error
    }
  }
}

/** Undefined: no line now. A number: a line, and so many were left out before it. */
function admit(samplings: Map<string, Sampling>, route: string, perSecond: number, now: number): number | undefined {
  const second = Math.floor(now / 1_000)
  let sampling = samplings.get(route)
  if (sampling === undefined) {
    sampling = { second, lines: 0, skipped: 0 }
    samplings.set(route, sampling)
  } else if (sampling.second !== second) {
    sampling.second = second
    sampling.lines = 0
  }
  if (sampling.lines >= perSecond) {
    sampling.skipped += 1
    return undefined
  }
  sampling.lines += 1
  const { skipped } = sampling
  sampling.skipped = 0
  return skipped
}

function levelOf(text: string | undefined): Level | undefined {
  if (text === undefined || text === '') return undefined
  const level = LEVELS.find((known) => known === text)
  if (level !== undefined) return level
  throw new RouteMQError('ROUTER_INVALID', `"${text}" is no log level; use ${LEVELS.join(', ')}`)
}

function countOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const count = Number(text)
  if (Number.isInteger(count) && count >= 0) return count
  throw new RouteMQError('ROUTER_INVALID', `lines per second is a whole number, not "${text}"`)
}
