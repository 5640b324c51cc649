import type { AddressInfo } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { Config, HttpConfig, LogConfig } from '../config/config.js'
import { type Logger, silentLogger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { SidecarApp } from './app.js'
import { Authenticator } from './auth.js'
import type { ConnectionBounds } from './connections.js'
import { isLoopback } from './guard.js'
import { isUsable } from './keys.js'
import { buildServer } from './server.js'
import type { SidecarServices } from './services.js'
import { tokenVerifier } from './tokens.js'

/** How many ports after the wanted one are tried before any free one is taken. */
const NEIGHBOURS = 20

export interface SidecarOptions {
  readonly services: SidecarServices
  readonly config: HttpConfig
  /** Secret of this run, for the command line; accepted besides all keys. */
  readonly runToken: string
  /** Only where traces are made. */
  readonly tracing?: Tracing | undefined
  readonly logger?: Logger
  readonly clock?: Clock
  /** Routes of the application, under the same credentials, problem documents and OpenAPI. */
  readonly extend?: (app: SidecarApp, services: SidecarServices) => void | Promise<void>
  /** Checks every answer against its schema; a mismatch is a 500. For tests. @default false */
  readonly checkAnswers?: boolean
  /** Longest time for the headers of a request, and for the whole of it. @default 10 s and 30 s */
  readonly timeouts?: { readonly headersMs: number; readonly requestMs: number }
  /** Connections open at a time; one more is closed. @default 1000, and 250 of one address */
  readonly connections?: ConnectionBounds
}

export interface Sidecar {
  /** As a client on this machine calls it, without a slash at the end. */
  readonly url: string
  readonly port: number
  /** True where the wanted port was taken and another one is used. */
  readonly moved: boolean
  /**
   * Takes another generation of the settings. Keys, tokens, rate limit and log level hold from the next request on; the rest of
   * them needs a new sidecar.
   */
  reconfigure(config: Pick<Config, 'http' | 'log'>): void
  /** Stops taking connections, ends live streams, lets requests finish until the deadline, then cuts them off. */
  close(deadlineMs: number): Promise<void>
}

/**
 * Starts the sidecar.
 *
 * @throws RouteMQError CONFIG_INVALID where others could reach it and no credential is configured, PORT_IN_USE where the
 * port is taken and may not move.
 */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { services, config, runToken, logger = silentLogger, clock = systemClock } = options
  const local = isLoopback(config.host)
  let current = config
  let verifyToken = config.jwt === undefined ? undefined : tokenVerifier(config.jwt)
  const authenticator = ({ apiKeys }: HttpConfig) =>
    new Authenticator({ apiKeys, verifyToken, runToken, keys: services.keys, always: !local, now: () => clock.now() })
  let auth = authenticator(config)
  let verbose = isVerbose(services.config.log)
  const configured = config.apiKeys.length > 0 || config.jwt !== undefined || services.keys?.any() === true
  if (!local && !configured) {
    throw new RouteMQError(
      'CONFIG_INVALID',
      `HTTP_HOST=${config.host} lets other machines in, and there is no credential: set HTTP_API_KEYS, a key with ` +
        '`routemq key:create` or HTTP_JWT_SECRET, or listen on 127.0.0.1',
      { details: { key: 'HTTP_API_KEYS', host: config.host } },
    )
  }
  if (!local && config.apiKeys.length === 0 && config.jwt === undefined) {
    const now = clock.now()
    const usable = (await services.keys?.list())?.some((record) => isUsable(record, now)) === true
    if (!usable)
      logger.warn(
        { host: config.host },
        'no API key is valid any more: only the command line of this machine is let in',
      )
  }
  const { extend, checkAnswers, timeouts, connections, tracing } = options
  const { app, endStreams } = await buildServer({
    services,
    config,
    auth: () => auth,
    rateLimit: () => current.rateLimit,
    verbose: () => verbose,
    tracing,
    logger,
    clock,
    extend,
    checkAnswers,
    timeouts,
    connections,
  })
  try {
    await listen(app, config)
  } catch (error) {
    await app.close()
    throw error
  }
  const { port } = app.server.address() as AddressInfo
  let closing: Promise<void> | undefined
  return {
    url: `http://${reachableHost(config.host)}:${port}`,
    port,
    moved: config.port !== 0 && port !== config.port,
    reconfigure(next) {
      // Else what is known of the issuer's keys would be lost with every reload.
      const isSame = isDeepStrictEqual(next.http.jwt, current.jwt)
      if (!isSame) verifyToken = next.http.jwt === undefined ? undefined : tokenVerifier(next.http.jwt)
      current = next.http
      auth = authenticator(next.http)
      verbose = isVerbose(next.log)
    },
    close(deadlineMs) {
      closing ??= close(app, endStreams, clock, deadlineMs)
      return closing
    },
  }
}

/** Whether single requests are worth a line. */
function isVerbose({ level }: LogConfig): boolean {
  return level === 'debug' || level === 'trace'
}

async function listen(app: SidecarApp, { host, port, mayMove }: HttpConfig): Promise<void> {
  const neighbours = Array.from({ length: NEIGHBOURS }, (_, offset) => port + 1 + offset).filter(
    (next) => next <= 65_535,
  )
  const candidates = mayMove ? [port, ...neighbours, 0] : [port]
  for (const candidate of candidates) {
    try {
      await app.listen({ host, port: candidate })
      return
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EADDRINUSE') {
        const reason = error instanceof Error ? error.message : String(error)
        throw new RouteMQError('CONFIG_INVALID', `the sidecar cannot listen on ${host}:${port}: ${reason}`, {
          details: { key: 'HTTP_HOST', host, port },
          cause: error,
        })
      }
    }
  }
  throw new RouteMQError('PORT_IN_USE', `port ${port} on ${host}, wanted by the sidecar, is taken`, {
    details: { key: 'HTTP_PORT', host, port },
  })
}

async function close(app: SidecarApp, endStreams: () => void, clock: Clock, deadlineMs: number): Promise<void> {
  endStreams()
  const cancel = clock.after(deadlineMs, () => app.server.closeAllConnections())
  try {
    await app.close()
  } finally {
    cancel()
  }
}

function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
