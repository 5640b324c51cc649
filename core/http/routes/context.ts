import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '../../observability/logger.js'
import type { Clock } from '../../support/clock.js'
import { RouteMQError } from '../../support/errors.js'
import type { SidecarServices } from '../services.js'

/** What every file of routes is given. */
export interface RouteContext {
  readonly services: SidecarServices
  readonly clock: Clock
  readonly logger: Logger
  /** Asks for the caller's credential again; rejects where it is no longer good. For answers that take long. */
  readmit(request: FastifyRequest, reply: FastifyReply): Promise<void>
}

/** The part, or the error that says it is not here. */
export function present<T>(part: T | undefined, what: string, keptInDatabase = false): T {
  if (part !== undefined) return part
  if (keptInDatabase)
    throw new RouteMQError('DATABASE_UNAVAILABLE', `this installation keeps no ${what}: that needs a database`)
  throw new RouteMQError('NOT_AVAILABLE', `this installation has no ${what}`)
}
