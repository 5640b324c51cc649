import type { FastifyReply, FastifyRequest } from 'fastify'
import { RouteMQError } from '../support/errors.js'
import { type Authenticator, allows, type Caller } from './auth.js'
import { isLoopbackHostHeader, isLoopbackOrigin } from './guard.js'
import type { KeyScope } from './services/keys.js'

/** What a route asks of its callers. */
export interface Wanted {
  /** How far their credential must reach; `open` asks for none. */
  readonly scope: KeyScope | 'open'
  /** A browser opens it by itself: it may ask its user for the key as a Basic password. */
  readonly byBrowser: boolean
  /** A probe asks it, which would call a healthy product dead if somebody else at its address had spent the limit. */
  readonly isProbe: boolean
}

/** Paths that are never limited. */
export const PROBE_PATHS: ReadonlySet<string> = new Set(['/live', '/ready'])

/** Paths that a browser opens by itself. */
export const BROWSER_PATHS = /^\/(docs(\/.*)?|openapi\.json)$/

/**
 * Lets a request in or throws. With credentials: every route but the open ones needs one of sufficient scope. Without:
 * only requests that name this machine, from no foreign page, with JSON bodies; a page on the internet can send neither.
 *
 * Returns a promise only where one is needed, for tokens: it runs before every request.
 */
export function admit(
  auth: Authenticator,
  { scope, byBrowser }: Wanted,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> | undefined {
  const { required } = auth
  if (!required) admitLocal(request)
  else if (scope === 'open') {
    request.caller = { actor: { kind: 'http', name: `anonymous:${request.ip}` }, scope: 'read', anonymous: true }
    return undefined
  }
  const allowBasic = !required || byBrowser
  try {
    const found = auth.identify(request.headers, allowBasic)
    if (found instanceof Promise) {
      return found
        .then((caller) => settle(request, caller, required, scope))
        .catch((error) => {
          throw challenged(error, reply, allowBasic)
        })
    }
    settle(request, found, required, scope)
    return undefined
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
    const actor = { kind: 'http', name: `open:${request.ip}` } as const
    request.caller = forAudit(request, { actor, scope: 'admin', anonymous: true })
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

/** The scope that a route asks for, from its own word or its method. */
export function scopeFor(
  config: { readonly scope?: KeyScope | 'open' } | undefined,
  method: string | readonly string[],
): KeyScope | 'open' {
  if (config?.scope !== undefined) return config.scope
  const methods = typeof method === 'string' ? [method] : method
  return methods.every((each) => each === 'GET' || each === 'HEAD') ? 'read' : 'admin'
}

const PROXY_HEADERS = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip']

function admitLocal(request: FastifyRequest): void {
  const { host, origin, 'content-type': type, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers
  // A target that is a whole URL names its host too, and the header counts no more (RFC 9112, 3.2.2).
  const [, named] = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(request.url) ?? []
  if (!isLoopbackHostHeader(host) || (named !== undefined && !isLoopbackHostHeader(named))) {
    throw new RouteMQError(
      'HOST_REFUSED',
      `without credentials only this machine is served, not "${named ?? host ?? ''}"`,
    )
  }
  // A proxy on this machine makes everyone a local caller, with a local Host if nobody told it otherwise.
  const proxied = PROXY_HEADERS.find((header) => request.headers[header] !== undefined)
  if (proxied !== undefined) {
    throw new RouteMQError('HOST_REFUSED', `without credentials nothing is served through a proxy ("${proxied}")`)
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
