import { hash, timingSafeEqual } from 'node:crypto'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import type { SidecarServices } from '../core/http/services.js'
import { startSidecar } from '../core/http/sidecar.js'
import { ReadCache } from '../core/modbus/cache.js'
import type { FieldPort } from '../core/modbus/field.js'
import { Metrics } from '../core/observability/metrics.js'
import { systemClock } from '../core/support/clock.js'
import { RouteMQError } from '../core/support/errors.js'

/** One server of the HTTP benchmark, in a process of its own: `bare`, `checked` or `sidecar`. Says its port and how to ask. */
const kind = process.argv[2]
process.on('disconnect', () => process.exit(0))
process.on('message', () => process.send?.(process.cpuUsage()))
const KEY = 'a-key-of-the-benchmark'
const DIGEST = hash('sha256', KEY, 'buffer')
const text = { type: 'string' }
const integer = { type: 'integer' }
/** As one writes it for Fastify by hand. */
const SCHEMA = {
  params: { type: 'object', properties: { device_id: { type: 'string', minLength: 1, maxLength: 50 } } },
  querystring: {
    type: 'object',
    required: ['address'],
    properties: {
      address: { type: 'integer', minimum: 0, maximum: 65_535 },
      count: { type: 'integer', minimum: 1, maximum: 2_000, default: 1 },
      register_type: { enum: ['holding', 'input', 'coil', 'discrete'], default: 'holding' },
      source: { enum: ['live', 'cache'], default: 'live' },
    },
  },
  response: {
    200: {
      type: 'object',
      properties: {
        device_id: text,
        register_type: text,
        address: integer,
        count: integer,
        values: { type: 'array', items: { type: 'number' } },
        source: text,
        quality: text,
        cached_at: text,
      },
    },
  },
}
const block = { device_id: 'meter-1', register_type: 'holding', address: 0, count: 10 } as const
const values = Array.from({ length: 10 }, (_, index) => index * 100)

if (kind === 'bare' || kind === 'checked') {
  const app = Fastify()
  const body = { ...block, values, source: 'cache', quality: 'good', cached_at: new Date().toISOString() }
  if (kind === 'bare') app.get('/api/devices/:device_id/registers', async () => body)
  else app.get('/api/devices/:device_id/registers', { schema: SCHEMA, onRequest: checkKey }, async () => body)
  await app.listen({ host: '127.0.0.1', port: 0 })
  ready((app.server.address() as { port: number }).port)
} else {
  const cache = new ReadCache({ ttlMs: 3_600_000, clock: systemClock })
  cache.open(block, 'bus').fill(values, Date.now() / 1_000)
  // The cache is the product's; the wire behind it is not part of this question.
  const field: Pick<FieldPort, 'request'> = {
    request: (async (request: { op: string }) => {
      const found = request.op === 'read' ? cache.find(request as never) : undefined
      if (found === undefined) throw new RouteMQError('INTERNAL', 'the benchmark reads cached blocks only')
      return found
    }) as FieldPort['request'],
  }
  const metrics = new Metrics({ process: 'gateway' })
  const services = {
    config: { app: { name: 'bench' }, log: { level: 'info' } },
    version: '0',
    field,
    metrics: { observeHttp: metrics.observeHttp.bind(metrics) },
  } as unknown as SidecarServices
  const config = { enabled: true, host: '127.0.0.1', port: 0, mayMove: false, apiKeys: [KEY] }
  const sidecar = await startSidecar({
    services,
    config: { ...config, rateLimit: { max: 1e9, windowMs: 60_000 } },
    runToken: 'token',
  })
  ready(sidecar.port)
}

function checkKey(request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const given = hash('sha256', request.headers.authorization?.slice('Bearer '.length) ?? '', 'buffer')
  done(timingSafeEqual(given, DIGEST) ? undefined : new Error('wrong key'))
}

function ready(port: number): void {
  const path = '/api/devices/meter-1/registers?address=0&count=10&source=cache'
  process.send?.({
    port,
    request: `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${KEY}\r\n\r\n`,
  })
}
