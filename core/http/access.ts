import type { FastifyReply, FastifyRequest } from 'fastify'
import { RouteMQError } from '../support/errors.js'
import { type Authenticator, allows, type Caller } from './auth.js'
import { isLoopbackHostHeader, isLoopbackOrigin } from './guard.js'
import { pathOf } from './problem.js'
import type { KeyScope } from './services.js'

/** Paths a browser opens by itself: there it may ask its user for the key as a Basic password. */
const BROWSER_PATHS = /^\/(docs(\/.*)?|openapi\.json)$/

/**
 * Lets a request in or throws. With credentials: every route but the open ones needs one of sufficient scope. Without:
 * only requests that name this machine, from no foreign page, with JSON bodies; a page on the internet can send neither.
 *
 * Returns a promise only where one is needed, for kept keys and tokens: it runs before every request.
 */
export function admit(
  auth: Authenticator,
  needed: KeyScope | 'open',
  request: FastifyRequest,
  reply: FastifyReply,
): void | Promise<void> {
  const { required } = auth
  if (!required) admitLocal(request)
  else if (needed === 'open') {
    request.caller = { actor: { kind: 'http', name: `anonymous:${request.ip}` }, scope: 'read' }
    return
  }
  const allowBasic = !required || BROWSER_PATHS.test(pathOf(request.url))
  try {
    const found = auth.identify(request.headers, allowBasic)
    if (found instanceof Promise) {
      return found
        .then((caller) => settle(request, caller, required, needed))
        .catch((error) => {
          throw challenged(error, reply, allowBasic)
        })
    }
    settle(request, found, required, needed)
  } catch (error) {
    throw challenged(error, reply, allowBasic)
  }
}

function settle(
  request: FastifyRequest,
  caller: Caller | undefined,
  required: boolean,
  needed: KeyScope | 'open',
): void {
  if (caller === undefined) {
    if (required) throw new RouteMQError('UNAUTHENTICATED', 'this needs a credential')
    request.caller = forAudit(request, { actor: { kind: 'http', name: `open:${request.ip}` }, scope: 'admin' })
    return
  }
  request.caller = forAudit(request, caller)
  // Without required credentials the run token still tells the command line from everyone else, for the audit.
  if (!required || needed === 'open' || allows(caller.scope, needed)) return
  throw new RouteMQError('FORBIDDEN', `this needs a credential of scope ${needed}`, { details: { scope: needed } })
}

/** What changes something is kept with the request that asked for it. */
function forAudit({ method, id }: FastifyRequest, caller: Caller): Caller {
  if (method === 'GET' || method === 'HEAD') return caller
  return { ...caller, actor: { ...caller.actor, request_id: id } }
}

/** Says with every 401 which credential is wanted. */
function challenged(error: unknown, reply: FastifyReply, allowBasic: boolean): unknown {
  if (error instanceof RouteMQError && error.code === 'UNAUTHENTICATED') {
    const scheme = allowBasic ? 'Basic realm="routemq", charset="UTF-8"' : 'Bearer realm="routemq"'
    reply.header('www-authenticate', scheme)
  }
  return error
}

/** What a route asks for, from its own word or its method. */
export function scopeFor(
  config: { readonly scope?: KeyScope | 'open' } | undefined,
  method: string | readonly string[],
) {
  if (config?.scope !== undefined) return config.scope
  const methods = typeof method === 'string' ? [method] : method
  return methods.every((each) => each === 'GET' || each === 'HEAD') ? 'read' : 'admin'
}

function admitLocal(request: FastifyRequest): void {
  const { host, origin, 'content-type': type, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers
  if (!isLoopbackHostHeader(host)) {
    throw new RouteMQError('HOST_REFUSED', `without credentials only this machine is served, not "${host ?? ''}"`)
  }
  // Pictures and scripts of a foreign page send no Origin, but browsers say where they come from. A link may lead here.
  const foreign = site === 'cross-site' && mode !== 'navigate'
  if (foreign || (origin !== undefined && !isLoopbackOrigin(origin))) {
    throw new RouteMQError('HOST_REFUSED', 'without credentials pages of other origins are not served')
  }
  if (type !== undefined && !/^application\/(.+\+)?json\s*(;|$)/i.test(type)) {
    throw new RouteMQError('MEDIA_TYPE_REFUSED', 'the body must be application/json')
  }
}
