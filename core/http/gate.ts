import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import type { HttpConfig } from '../config/config.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { admit, type Wanted } from './access.js'
import type { Authenticator } from './auth.js'
import { networkOf, type Rate, RateTable } from './rate-table.js'
import { safeHeaders } from './safe-headers.js'

const DEFAULT_RATE: Rate = { max: 6_000, windowMs: 60_000 }

export type Gate = (wanted: Wanted) => onRequestHookHandler

export interface GateOptions {
  readonly auth: () => Authenticator
  readonly rateLimit: () => HttpConfig['rateLimit']
  readonly clock: Clock
}

/**
 * What every request passes: credentials first, so that a client is known by its name, then its share of requests. A
 * wrong credential counts against the address it came from, which has a tenth of a client's share. Nothing is awaited but
 * tokens: it runs before every request.
 */
export async function gateOf({ auth, rateLimit, clock }: GateOptions): Promise<Gate> {
  const headers = await safeHeaders()
  const clients = new RateTable()
  const strangers = new RateTable()

  /** What a client that was let in gets instead of an answer: nothing, or word that it has had its share. */
  function countClient({ caller }: FastifyRequest): RouteMQError | undefined {
    const rate = rateLimit()
    // The command line of this machine, and open loopback without a configured limit, are not held up.
    if (rate === 'off' || caller.actor.kind === 'cli' || (rate === undefined && !auth().required)) return undefined
    return take(clients, caller.actor.name, rate ?? DEFAULT_RATE)
  }

  function countRefusal({ ip }: FastifyRequest): RouteMQError | undefined {
    const rate = rateLimit() ?? DEFAULT_RATE
    if (rate === 'off') return undefined
    return take(strangers, networkOf(ip), { ...rate, max: Math.max(10, Math.ceil(rate.max / 10)) })
  }

  function take(table: RateTable, client: string, rate: Rate): RouteMQError | undefined {
    const wait = table.take(client, rate, clock.monotonic())
    if (wait === undefined) return undefined
    return new RouteMQError('THROTTLED', 'too many requests', { details: { limit: rate.max, retry_after_ms: wait } })
  }

  return (wanted) =>
    function gate(request, reply, done) {
      for (const [name, value] of headers) reply.header(name, value)
      reply.header('x-request-id', request.id)
      let later: Promise<void> | undefined
      try {
        later = admit(auth(), wanted, request, reply)
      } catch (error) {
        done((countRefusal(request) ?? error) as Error)
        return
      }
      if (later === undefined) done(countClient(request))
      else
        later.then(
          () => done(countClient(request)),
          (error) => done(countRefusal(request) ?? error),
        )
    }
}
