import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import type { HttpConfig } from '../config/config.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { admit, type Wanted } from './access.js'
import { type Authenticator, bearsCredential, type Caller } from './auth.js'
import { hangUp } from './hang-up.js'
import { networkOf, type Rate, RateTable } from './rate-table.js'
import { Regulars } from './regulars.js'
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
 * wrong credential counts against the address it came from, which has a tenth of a client's share; once that is spent, no
 * credential is told right from wrong there that was not let in from there before, so that guessing ends. Probes are
 * never held up, and who showed no good credential keeps no connection. Nothing is awaited but tokens: it runs before every
 * request.
 */
export async function gateOf({ auth, rateLimit, clock }: GateOptions): Promise<Gate> {
  const headers = await safeHeaders()
  const clients = new RateTable()
  /** Two tables: who forgot the credential takes no share from those who get it wrong, and locks nobody out. */
  const strangers = new RateTable()
  const guessers = new RateTable()
  const regulars = new Regulars()

  /** What a client that was let in gets instead of an answer: nothing, or word that it has had its share. */
  function countClient(request: FastifyRequest): RouteMQError | undefined {
    const rate = rateLimit()
    // The command line of this machine, and open loopback without a configured limit, are not held up.
    if (rate === 'off' || request.caller.actor.kind === 'cli' || (rate === undefined && !auth().required))
      return undefined
    return take(clients, clientOf(request), rate ?? DEFAULT_RATE)
  }

  /** A good credential that was not seen from this address before, after too many wrong ones from there. */
  function countNewcomer({ ip, caller }: FastifyRequest): RouteMQError | undefined {
    const { kind, name } = caller.actor
    const rate = refusalRate()
    if (rate === 'off' || kind === 'cli' || regulars.has(ip, name)) return undefined
    const network = networkOf(ip)
    if (!regulars.has(network, name)) {
      const wait = guessers.spent(network, rate, clock.monotonic())
      if (wait !== undefined) return throttled(rate, wait)
      regulars.add(network, name)
    }
    regulars.add(ip, name)
    return undefined
  }

  function countRefusal(request: FastifyRequest): RouteMQError | undefined {
    const rate = refusalRate()
    if (rate === 'off') return undefined
    return take(bearsCredential(request.headers) ? guessers : strangers, networkOf(request.ip), rate)
  }

  function refusalRate(): Rate | 'off' {
    const rate = rateLimit() ?? DEFAULT_RATE
    return rate === 'off' ? rate : { ...rate, max: Math.max(10, Math.ceil(rate.max / 10)) }
  }

  function take(table: RateTable, client: string, rate: Rate): RouteMQError | undefined {
    const wait = table.take(client, rate, clock.monotonic())
    return wait === undefined ? undefined : throttled(rate, wait)
  }

  function admitted(request: FastifyRequest, reply: FastifyReply, { isProbe }: Wanted): RouteMQError | undefined {
    const { anonymous } = request.caller
    if (anonymous === true && auth().required) hangUp(request, reply)
    if (isProbe) return undefined
    return (anonymous === true ? undefined : countNewcomer(request)) ?? countClient(request)
  }

  function refused(request: FastifyRequest, reply: FastifyReply, { isProbe }: Wanted, error: unknown): unknown {
    // Known, and not allowed this: its own share, not that of its address.
    if ((request.caller as Caller | null) !== null) return countNewcomer(request) ?? countClient(request) ?? error
    hangUp(request, reply)
    // That the keys of tokens cannot be fetched is nobody's guess.
    const isOutage = error instanceof RouteMQError && error.code === 'JWKS_UNAVAILABLE'
    return isProbe || isOutage ? error : (countRefusal(request) ?? error)
  }

  return (wanted) =>
    function gate(request, reply, done) {
      for (const [name, value] of headers) reply.header(name, value)
      reply.header('x-request-id', request.id)
      let later: Promise<void> | undefined
      try {
        later = admit(auth(), wanted, request, reply)
      } catch (error) {
        done(refused(request, reply, wanted, error) as Error)
        return
      }
      if (later === undefined) done(admitted(request, reply, wanted))
      else
        later.then(
          () => done(admitted(request, reply, wanted)),
          (error) => done(refused(request, reply, wanted, error) as Error),
        )
    }
}

/** Who a caller is for a limit: its name, or where it comes from. */
export function clientOf({ caller, ip }: FastifyRequest): string {
  return caller.anonymous === true ? networkOf(ip) : caller.actor.name
}

function throttled({ max }: Rate, wait: number): RouteMQError {
  return new RouteMQError('THROTTLED', 'too many requests', { details: { limit: max, retry_after_ms: wait } })
}
