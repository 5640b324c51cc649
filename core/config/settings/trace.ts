import { list, text, url } from '../kinds.js'
import { setting } from '../setting.js'

/** Traces; the names are those of OpenTelemetry. */
export const TRACE_SETTINGS = {
  traceEndpoint: setting({
    path: 'trace.endpoint',
    names: ['OTEL_EXPORTER_OTLP_ENDPOINT'],
    kind: url('http://host:4318 or https://'),
    about: 'Where traces go (OTLP over HTTP, `/v1/traces` below this address); unset: none are made.',
  }),
  traceHeaders: setting({
    path: 'trace.headers',
    names: ['OTEL_EXPORTER_OTLP_HEADERS'],
    kind: list((pair) => /^[^=\s]+=/.test(pair), 'name=value pairs separated by commas'),
    fallback: [],
    secret: 'file',
    about: 'Headers of these requests, such as a key.',
  }),
  traceService: setting({
    path: 'trace.service_name',
    names: ['OTEL_SERVICE_NAME'],
    kind: text(),
    about: 'Name of this installation in traces; default: APP_NAME.',
  }),
  traceRatio: setting({
    path: 'trace.ratio',
    names: ['OTEL_TRACES_SAMPLER_ARG'],
    kind: {
      want: 'a number from 0 to 1',
      parse: (value) => (/^(0(\.\d+)?|1(\.0+)?)$/.test(value) ? Number(value) : undefined),
    },
    fallback: 1,
    about:
      'Share of the traces begun here that are sent. Who sends a trace context with a message or a request decides itself.',
  }),
} as const
