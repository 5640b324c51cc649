import { z } from 'zod'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { okMessage } from '../schemas/fields.js'
import { healthSchema, metricsSchema, readySchema } from '../schemas/runtime.js'
import type { RouteContext } from './context.js'

const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8'

/** `/live`, `/ready`, `/health`, `/metrics` and the counters of `/api/metrics`. */
export function systemRoutes(app: SidecarApp, { services, clock }: RouteContext): void {
  app.get(
    '/live',
    {
      config: { scope: 'open' },
      schema: {
        tags: ['system'],
        summary: 'The event loop turns',
        response: answers({ 200: z.object({ status: z.literal('ok') }) }),
      },
    },
    async () => ({ status: 'ok' }),
  )

  app.get(
    '/ready',
    {
      config: { scope: 'open' },
      schema: {
        tags: ['system'],
        summary: 'Configuration loaded, subscriptions granted, workers ready',
        response: answers({ 200: readySchema, 503: readySchema }),
      },
    },
    async (_request, reply) => {
      const report = await services.ready()
      if (!report.ready) reply.code(503).header('retry-after', '1')
      return report
    },
  )

  app.get(
    '/health',
    {
      schema: {
        tags: ['system'],
        summary: 'Everything, in words',
        description: '503 only when the database or the broker is away or a process cannot work.',
        response: answers({ 200: healthSchema, 503: healthSchema }),
      },
    },
    async (_request, reply) => {
      const { status, uptime, services: states, details } = await services.health()
      if (status === 'degraded') reply.code(503).header('retry-after', '5')
      return {
        status,
        mode: services.config.mode,
        timestamp: new Date(clock.now()).toISOString(),
        version: services.version,
        uptime,
        services: states,
        details,
      }
    },
  )

  app.get(
    '/metrics',
    {
      schema: {
        tags: ['system'],
        summary: 'Metrics for Prometheus',
        response: answers({
          200: { description: 'Prometheus text', content: { 'text/plain': { schema: z.string() } } },
        }),
      },
    },
    async (_request, reply) => {
      const text = await services.metrics.prometheus()
      return reply
        .type(PROMETHEUS_TEXT)
        .serializer((body) => String(body))
        .send(text)
    },
  )

  app.get(
    '/api/metrics',
    { schema: { tags: ['system'], summary: 'Counters since the start', response: answers({ 200: metricsSchema }) } },
    async () => services.metrics.snapshot(),
  )

  app.post(
    '/api/metrics/reset',
    { schema: { tags: ['system'], summary: 'Starts the counters anew', response: answers({ 200: okMessage }) } },
    async (request) => {
      await services.metrics.reset(request.caller.actor)
      return { status: 'ok', message: 'All metrics have been reset' }
    },
  )
}
