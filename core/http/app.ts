import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { RouteMQError } from '../support/errors.js'
import type { Caller } from './auth.js'
import type { KeyScope } from './services/keys.js'

/** The sidecar's Fastify instance: schemas are zod schemas, handlers get their types from them. */
export type SidecarApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression<RawServerDefault>,
  RawReplyDefaultExpression<RawServerDefault>,
  FastifyBaseLogger,
  ZodTypeProvider
>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller's credential must allow; `open` asks for none. @default read for GET and HEAD, else admin */
    scope?: KeyScope | 'open'
  }
  interface FastifyRequest {
    /** Who asks. Without credentials, on loopback: `open:<address>`, allowed everything. */
    caller: Caller
  }
}

/** Aborted when the client goes away before it was answered, so that what is not on the wire yet is not driven. */
export function signalOf({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController()
  raw.once('close', () => {
    if (!raw.writableFinished) controller.abort(new RouteMQError('CLIENT_GONE', 'the client went away'))
  })
  return controller.signal
}
