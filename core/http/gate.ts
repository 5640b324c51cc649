import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import type { HttpConfig } from '../config/config.js'
import { RouteMQError } from '../support/errors.js'
import { admit } from './access.js'
import type { SidecarApp } from './app.js'
import type { Authenticator } from './auth.js'
import { safeHeaders } from './safe-headers.js'
import type { KeyScope } from './services.js'

const DEFAULT_RATE = { max: 6_000, windowMs: 60_000 }

export type Gate = (needed: KeyScope | 'open') => onRequestAsyncHookHandler

export interface GateOptions {
  readonly auth: () => Authenticator
  readonly rateLimit: () => HttpConfig['rateLimit']
}

/**
 * What every request passes: credentials first, so that a client is known by its name, then its share of requests. A
 * wrong credential counts against the address it came from, which has a tenth of a client's share. The plugin remembers
 * the last 5,000 clients.
 */
export async function gateOf(app: SidecarApp, { auth, rateLimit: configured }: GateOptions): Promise<Gate> {
  await app.register(rateLimit, { global: false })
  const headers = await safeHeaders()
  const rate = () => {
    const limit = configured() ?? DEFAULT_RATE
    return limit === 'off' ? undefined : limit
  }
  const counter = (share: (max: number) => number, keyGenerator: (request: FastifyRequest) => string) => {
    const take = app.createRateLimit({
      keyGenerator,
      max: () => share((rate() ?? DEFAULT_RATE).max),
      timeWindow: () => (rate() ?? DEFAULT_RATE).windowMs,
    })
    return async (request: FastifyRequest) => {
      if (rate() === undefined) return
      const taken = await take(request)
      if (taken.isAllowed || !taken.isExceeded) return
      const { max, ttl } = taken
      throw new RouteMQError('THROTTLED', 'too many requests', { details: { limit: max, retry_after_ms: ttl } })
    }
  }
  const countClient = counter(
    (max) => max,
    ({ caller }) => caller.actor.name,
  )
  const countRefusal = counter(
    (max) => Math.max(10, Math.ceil(max / 10)),
    ({ ip }) => ip,
  )
  return (needed) =>
    async function gate(request, reply) {
      reply.headers(headers).header('x-request-id', request.id)
      try {
        const later = admit(auth(), needed, request, reply)
        if (later !== undefined) await later
      } catch (error) {
        await countRefusal(request)
        throw error
      }
      // The command line of this machine, and open loopback without a configured limit, are not held up.
      if (request.caller.actor.kind === 'cli' || (!auth().required && configured() === undefined)) return
      await countClient(request)
    }
}
