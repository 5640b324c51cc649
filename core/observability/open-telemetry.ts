import { AsyncLocalStorage } from 'node:async_hooks'
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base'
import type { TraceConfig } from '../config/config.js'
import type { Logger } from './logger.js'
import { formatTraceparent, parseTraceparent } from './trace-context.js'
import type { Span, SpanStart, Tracing } from './tracing.js'

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  consumer: SpanKind.CONSUMER,
  producer: SpanKind.PRODUCER,
} as const

/** Spans wait no longer than this for others to be sent with. */
const SEND_EVERY_MS = 2_000
const SEND_LIMIT_MS = 5_000
const CLOSE_LIMIT_MS = 1_500

export interface TracedProcess {
  readonly instance: string
  /** `gateway`, or the name of a worker. */
  readonly name: string
  readonly version: string
}

/**
 * Sends spans to an OTLP receiver, in batches and in the background. While that is away up to 2048 wait, then the newest
 * are dropped: nothing here makes a message or a request wait.
 */
export function openTelemetry(
  config: TraceConfig,
  { instance, name, version }: TracedProcess,
  logger: Logger,
): Tracing {
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({
      'service.name': config.service,
      'service.version': version,
      'service.instance.id': `${instance}/${name}`,
    }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.ratio) }),
    spanProcessors: [
      new BatchSpanProcessor(
        tellingTrouble(
          new OTLPTraceExporter({
            url: `${config.endpoint.replace(/\/+$/, '')}/v1/traces`,
            headers: { ...config.headers },
            timeoutMillis: SEND_LIMIT_MS,
          }),
          logger,
        ),
        { scheduledDelayMillis: SEND_EVERY_MS, exportTimeoutMillis: SEND_LIMIT_MS },
      ),
    ],
  })
  const tracer = provider.getTracer('routemq', version)
  const running = new AsyncLocalStorage<string>()

  const contextOf = (parent: unknown): Context => {
    const span = parseTraceparent(parent ?? running.getStore())
    return span === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, span)
  }
  return {
    start({ name, kind, parent, attributes }: SpanStart): Span {
      const span = tracer.startSpan(name, { kind: KINDS[kind], attributes: { ...attributes } }, contextOf(parent))
      return {
        context: formatTraceparent(span.spanContext()),
        end(error, more) {
          if (more !== undefined) span.setAttributes(more)
          if (error !== undefined) {
            span.setAttribute('error.type', errorType(error))
            span.setStatus({ code: SpanStatusCode.ERROR })
          }
          span.end()
        },
      }
    },
    current: () => running.getStore(),
    run: (span, work) => running.run(span.context, work),
    async close() {
      // A receiver that is away must not hold up the end of the process; that it is was told when it was found out.
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_LIMIT_MS).unref())
      await Promise.race([provider.shutdown().catch(() => {}), late])
    },
  }
}

/** Says once that the receiver takes nothing, and once that it does again. */
function tellingTrouble(exporter: SpanExporter, logger: Logger): SpanExporter {
  let isAway = false
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const failed = result.code !== 0
        if (failed && !isAway) {
          logger.warn({ error: result.error?.message }, 'traces cannot be sent; those of this time are lost')
        }
        if (!failed && isAway) logger.info({}, 'traces can be sent again')
        isAway = failed
        done(result)
      })
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  }
}

function errorType(error: unknown): string {
  if (typeof error !== 'object' || error === null) return typeof error
  const { code, name } = error as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'Error'
}
