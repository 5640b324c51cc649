import { randomUUID } from 'node:crypto'
import cors from '@fastify/cors'
import Fastify, { type FastifyReply, type onRequestHookHandler, type onResponseHookHandler } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { HttpConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { admit, BROWSER_PATHS, PROBE_PATHS, scopeFor, type Wanted } from './access.js'
import type { SidecarApp } from './app.js'
import type { Authenticator, Caller } from './auth.js'
import { boundConnections, CONNECTION_BOUNDS, type ConnectionBounds } from './connections.js'
import { type Gate, gateOf } from './gate.js'
import { methodsOf, type PathTable, pathTable } from './methods.js'
import { registerOpenApi, serveOpenApi } from './openapi.js'
import { pathOf, sendProblem, toRouteMQError } from './problem.js'
import { adminCacheRoutes } from './routes/admin-cache.js'
import { adminDeviceRoutes } from './routes/admin-devices.js'
import { adminKeyRoutes } from './routes/admin-keys.js'
import { adminPlantRoutes } from './routes/admin-plant.js'
import { adminPointRoutes } from './routes/admin-points.js'
import { adminPollingRoutes } from './routes/admin-polling.js'
import { adminRuntimeRoutes } from './routes/admin-runtime.js'
import type { RouteContext } from './routes/context.js'
import { deviceRequestRoutes } from './routes/device-requests.js'
import { deviceRoutes } from './routes/devices.js'
import { historyRoutes } from './routes/history.js'
import { streamRoutes } from './routes/stream.js'
import { systemRoutes } from './routes/system.js'
import type { SidecarServices } from './services.js'
import { traceRequests } from './trace-hooks.js'

const BODY_LIMIT_BYTES = 1_048_576
/** A client that takes longer over its headers, or over a whole request, is cut off. */
const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 30_000
/** A connection on which nothing moves for so long is cut off, also one whose reader takes nothing of a long answer. */
const STALLED_MS = 600_000

/** What leads to no route asks for this, and a stream that goes on does. */
const ANY_READER: Wanted = { scope: 'read', byBrowser: false, isProbe: false }

export interface ServerOptions {
  readonly services: SidecarServices
  /** As the server starts with it: body limit and origins. */
  readonly config: HttpConfig
  /** Asked before every request, so that a new generation of the configuration needs no new server. */
  readonly auth: () => Authenticator
  readonly rateLimit: () => HttpConfig['rateLimit']
  /** Whether every request is logged. */
  readonly verbose: () => boolean
  /** Only where traces are made. */
  readonly tracing?: Tracing | undefined
  readonly logger: Logger
  readonly clock: Clock
  /** Routes of the application; they get the same credentials, limits, problem documents and OpenAPI. */
  readonly extend?: ((app: SidecarApp, services: SidecarServices) => void | Promise<void>) | undefined
  /** Checks every answer against its schema and turns a mismatch into a 500. For tests. @default false */
  readonly checkAnswers?: boolean | undefined
  readonly timeouts?: { readonly headersMs: number; readonly requestMs: number } | undefined
  readonly connections?: ConnectionBounds | undefined
}

export interface Server {
  readonly app: SidecarApp
  /** Ends the live streams, which would else outlast a stop. */
  endStreams(): void
}

/** The sidecar with all its routes, ready to listen. */
export async function buildServer(options: ServerOptions): Promise<Server> {
  const { services, config, logger, clock } = options
  const headersTimeout = options.timeouts?.headersMs ?? HEADERS_TIMEOUT_MS
  const app: SidecarApp = Fastify({
    logger: false,
    genReqId: requestId,
    bodyLimit: config.bodyLimitBytes ?? BODY_LIMIT_BYTES,
    requestTimeout: options.timeouts?.requestMs ?? REQUEST_TIMEOUT_MS,
    connectionTimeout: STALLED_MS,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 400 },
    http: { headersTimeout, connectionsCheckingInterval: Math.min(1_000, headersTimeout) },
    frameworkErrors: (error, request, reply) => {
      sendProblem(request, reply as FastifyReply, toRouteMQError(error))
    },
    clientErrorHandler: answerBrokenRequest,
  }).withTypeProvider<ZodTypeProvider>()
  boundConnections(app.server, options.connections ?? CONNECTION_BOUNDS, options)
  app.setValidatorCompiler(validatorCompiler)
  // Answers are built by us from typed records. Encoding each through its schema again would cost more than the rest of
  // a cached read (benchmarks/http.ts), and turn a harmless surprise into a 500; the tests do it instead.
  app.setSerializerCompiler(options.checkAnswers === true ? serializerCompiler : () => (data) => JSON.stringify(data))
  app.decorateRequest('caller', null as unknown as Caller)
  const paths = pathTable(app)
  if (options.tracing !== undefined) traceRequests(app, options.tracing)

  app.setErrorHandler(async (error, request, reply) => {
    const known = toRouteMQError(error)
    if (known.code === 'INTERNAL') {
      logger.error(
        { request_id: request.id, method: request.method, path: pathOf(request.url), err: error },
        'a request failed',
      )
    }
    return sendProblem(request, reply, known)
  })

  if (config.corsOrigins !== undefined && config.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...config.corsOrigins],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
      // An OPTIONS that is no preflight is answered like one, instead of with a page of text.
      strictPreflight: false,
      exposedHeaders: ['x-request-id', 'retry-after'],
      maxAge: 600,
    })
  }
  const gate = await gateOf(options)
  const observer = observerOf(options)
  await refuseStrays(app, paths, gate(ANY_READER), observer('unknown'))
  watchRoutes(app, gate, observer)

  await registerOpenApi(app, { title: services.config.app.name, version: services.version })
  const context: RouteContext = {
    services,
    clock,
    logger,
    readmit: async (request, reply) => admit(options.auth(), ANY_READER, request, reply),
  }
  systemRoutes(app, context)
  deviceRoutes(app, context)
  deviceRequestRoutes(app, context)
  adminDeviceRoutes(app, context)
  adminPlantRoutes(app, context)
  adminPointRoutes(app, context)
  adminPollingRoutes(app, context)
  adminCacheRoutes(app, context)
  adminRuntimeRoutes(app, context)
  adminKeyRoutes(app, context)
  historyRoutes(app, context)
  const endStreams = streamRoutes(app, context)
  await options.extend?.(app, services)
  await serveOpenApi(app)
  await app.ready()
  return { app, endStreams }
}

/**
 * Answers what leads to no route, behind the same gate. In a context of its own: hooks of the whole application would run
 * before and after every route, too, only to find out that they are not meant.
 */
async function refuseStrays(
  app: SidecarApp,
  paths: PathTable,
  gate: onRequestHookHandler,
  observer: onResponseHookHandler,
): Promise<void> {
  await app.register(async (strays) => {
    strays.addHook('onRequest', gate)
    strays.addHook('onResponse', observer)
    strays.setNotFoundHandler(async (request, reply) => {
      const path = pathOf(request.url)
      const allowed = methodsOf(paths, path)
      if (allowed.length === 0) throw new RouteMQError('ROUTE_NOT_FOUND', `there is no ${path}`)
      reply.header('allow', allowed.join(', '))
      throw new RouteMQError('METHOD_NOT_ALLOWED', `${path} takes ${allowed.join(', ')}, not ${request.method}`)
    })
  })
}

/**
 * Puts the gate before and the observer after every route registered from now on. What a route asks for is worked out
 * here, once: `request.routeOptions` builds and freezes a new object on each look.
 */
function watchRoutes(app: SidecarApp, gate: Gate, observer: Observer): void {
  app.addHook('onRoute', (route) => {
    const wanted = {
      scope: scopeFor(route.config, route.method),
      byBrowser: BROWSER_PATHS.test(route.url),
      isProbe: PROBE_PATHS.has(route.url),
    }
    // What asks for no credential says so in the OpenAPI document, whose default is that all do.
    if (wanted.scope === 'open') route.schema = { security: [], ...route.schema }
    route.onRequest = [gate(wanted), ...listOf(route.onRequest)]
    route.onResponse = [observer(route.url), ...listOf(route.onResponse)]
  })
}

function listOf<T>(hooks: T | readonly T[] | undefined): readonly T[] {
  return hooks === undefined ? [] : Array.isArray(hooks) ? hooks : [hooks as T]
}

/** What is asked every few seconds: the answer is a state, not a failure. */
const PROBES: ReadonlySet<string> = new Set([...PROBE_PATHS, '/health'])

/** One line and one observation for each answered request of a route. */
type Observer = (route: string) => onResponseHookHandler

function observerOf({ services, logger, verbose }: ServerOptions): Observer {
  const { metrics } = services
  // What no one will see is not put together. A defect has its own record; that a device or the broker is away is told
  // once, where it happens, and not again for each request that finds out.
  return (route) => (request, reply, done) => {
    const { statusCode: status, elapsedTime: ms } = reply
    const { method } = request
    metrics.observeHttp?.({ method, route, status, seconds: ms / 1_000 })
    const failed = status >= 500 && !PROBES.has(route)
    const changes = method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS'
    if (failed || changes || verbose()) {
      const facts = {
        request_id: request.id,
        method,
        path: pathOf(request.url),
        status,
        ms: Math.round(ms * 10) / 10,
        caller: request.caller?.actor.name,
      }
      if (failed) logger.warn(facts, 'request failed')
      else if (changes) logger.info(facts, 'request')
      else logger.debug(facts, 'request')
    }
    done()
  }
}

/** What all request ids of this process begin with; the rest counts, from 8 digits on. As a whole they look like a UUID. */
const ID_PREFIX = randomUUID().slice(0, 28)
let ids = 0x1000_0000

/** The id a caller gave, where it is harmless, so that one id runs through the logs of all systems. */
function requestId({ headers }: { readonly headers: Record<string, string | string[] | undefined> }): string {
  const given = headers['x-request-id']
  if (typeof given === 'string' && /^[A-Za-z0-9._:-]{1,64}$/.test(given)) return given
  ids += 1
  return ID_PREFIX + ids.toString(16)
}

/** Answers what never became a request: bytes that are not HTTP, headers that are too long or too slow. */
function answerBrokenRequest(error: Error & { code?: string }, socket: import('node:net').Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, code, detail] = brokenRequest(error.code)
  const body = JSON.stringify({
    type: `urn:routemq:error:${code}`,
    title: detail,
    status: Number(status.slice(0, 3)),
    detail: `${detail}.`,
    code,
  })
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
  // What the peer does with the answer is its affair: the connection does not wait for it.
  socket.destroySoon()
}

function brokenRequest(code: string | undefined): readonly [string, string, string] {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['408 Request Timeout', 'REQUEST_TIMEOUT', 'The request took too long']
    case 'HPE_HEADER_OVERFLOW':
      return ['431 Request Header Fields Too Large', 'HEADERS_TOO_LARGE', 'The headers are too large']
    default:
      return ['400 Bad Request', 'REQUEST_MALFORMED', 'This is not a well-formed HTTP request']
  }
}
