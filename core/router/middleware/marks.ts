import { parseDuration } from '../../support/duration.js'
import { RouteMQError } from '../../support/errors.js'
import type { Middleware, MiddlewareFactory, RouteMarks } from '../context.js'
import { validatePayload } from '../validate-payload.js'

const pass = (name: string, marks: RouteMarks): Middleware => {
  const middleware: Middleware = (_, next) => next()
  return Object.defineProperties(middleware, { name: { value: name }, marks: { value: Object.freeze(marks) } })
}

/** `idempotent`: a repeated message is answered from the outcome of the first; the delivery engine sees to it. */
export const idempotent: MiddlewareFactory = () => pass('idempotent', { idempotent: true })

/** `timeout:5s`: time limit of one attempt; past it HANDLER_TIMEOUT, and `ctx.signal` aborts. */
export const timeout: MiddlewareFactory = (text = '') => {
  const timeoutMs = parseDuration(/^\d+$/.test(text) ? `${Number(text)}s` : text)
  if (timeoutMs === undefined || timeoutMs === 0) {
    throw new RouteMQError('ROUTER_INVALID', `timeout wants a time such as "timeout:5s", not "${text}"`)
  }
  return pass('timeout', { timeoutMs })
}

/**
 * `validate`: checks the payload against the route's schema at this place instead of right before the handler, so that
 * later middleware sees the validated payload. `validate:request_id,value` also wants these fields to be there.
 * PAYLOAD_INVALID otherwise.
 */
export const validate: MiddlewareFactory = (...fields) => {
  const wanted = fields.filter((field) => field !== '')
  const middleware: Middleware = async (ctx, next) => {
    requireFields(wanted, ctx.payload)
    if (ctx.route.payload !== undefined) ctx.payload = await validatePayload(ctx.route.payload, ctx.payload)
    return next()
  }
  return Object.defineProperties(middleware, { name: { value: 'validate' }, marks: { value: { validates: true } } })
}

function requireFields(wanted: readonly string[], payload: unknown): void {
  const missing = wanted.filter(
    (field) => typeof payload !== 'object' || payload === null || !Object.hasOwn(payload, field),
  )
  if (missing.length === 0) return
  throw new RouteMQError('PAYLOAD_INVALID', `the payload lacks ${missing.join(', ')}`, {
    details: { fields: missing.map((path) => ({ path, message: 'is missing' })) },
  })
}
