import helmet from '@fastify/helmet'
import Fastify from 'fastify'

/**
 * Answers are data, never a page: nothing in them may run, be framed, be guessed at or be taken into another site's page.
 * The documentation page sets its own policy. No HSTS: the sidecar speaks plain HTTP, and who puts TLS before it decides.
 * What only tells a browser how to treat a page is left out.
 */
const OPTIONS = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
  },
  crossOriginResourcePolicy: { policy: 'same-origin' },
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  referrerPolicy: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xPoweredBy: false,
  xXssProtection: false,
} as const

/**
 * The headers of every answer, as @fastify/helmet sets them. It is asked once: they are the same for all answers, and
 * building them anew before each costs as much as a cached read (benchmarks/cases/http.ts).
 */
export async function safeHeaders(): Promise<readonly (readonly [name: string, value: string])[]> {
  const probe = Fastify()
  await probe.register(helmet, OPTIONS)
  probe.get('/', async (_request, reply) => reply.raw.getHeaders())
  const headers = (await probe.inject('/')).json<Record<string, string>>()
  await probe.close()
  return Object.entries(headers)
}
