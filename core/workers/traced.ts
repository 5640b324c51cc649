import { DeliveryContext } from '../delivery/context.js'
import type { CallingPublisher } from '../delivery/engine.js'
import type { FieldPort, FieldRequest, FieldResponse } from '../modbus/field.js'
import type { MessageProperties } from '../mqtt/message.js'
import { inSpan, type Tracing } from '../observability/tracing.js'
import type { CallOptions, Context } from '../router/context.js'
import type { Route } from '../router/route.js'
import type { GatewayServices } from './services.js'

// Wrappers that are put around parts where traces are made. Without them the parts know nothing of traces.

/** A request that crosses to the gateway carries the span it belongs to. */
export type TracedRequest = FieldRequest & { readonly trace?: string | undefined }

/** Each attempt of a route is a span; its parent is the `traceparent` among the user properties of the message. */
export function tracedRuns(tracing: Tracing): (route: Route) => Route['run'] {
  return (route) => (ctx) => {
    const { userProperties } = ctx.message.properties
    const start = {
      name: `${route.id} process`,
      kind: 'consumer' as const,
      parent: userProperties?.traceparent,
      attributes: {
        'messaging.system': 'mqtt',
        'messaging.destination.name': ctx.topic,
        'messaging.destination.template': route.pattern,
        'routemq.route': route.id,
        'routemq.attempt': ctx.attempt,
        ...requestIdOf(ctx),
      },
    }
    return inSpan(tracing, start, (span) => {
      if (ctx instanceof DeliveryContext) ctx.trace = span.context
      return route.run(ctx)
    })
  }
}

function requestIdOf(ctx: Context) {
  const id = ctx instanceof DeliveryContext ? ctx.requestId : undefined
  return id === undefined ? {} : { 'routemq.request_id': id }
}

/** What a handler publishes or calls carries its span in a user property, where the broker speaks MQTT 5. */
export function tracedPublisher<P extends CallingPublisher & { readonly protocol: 4 | 5 }>(
  link: P,
  tracing: Tracing,
): CallingPublisher {
  const withTrace = (properties: MessageProperties | undefined, context: string | undefined) =>
    context === undefined || link.protocol !== 5
      ? properties
      : { ...properties, userProperties: { traceparent: context, ...properties?.userProperties } }
  return {
    publish(topic, payload, options) {
      const properties = withTrace(options?.properties, tracing.current())
      return link.publish(topic, payload, properties === undefined ? options : { ...options, properties })
    },
    call(topic, payload, options) {
      const start = {
        name: 'mqtt call',
        kind: 'client' as const,
        attributes: { 'messaging.system': 'mqtt', 'messaging.destination.name': topic },
      }
      return inSpan(tracing, start, (span) => {
        const given = options?.userProperties
        const userProperties = withTrace(given && { userProperties: given }, span.context)?.userProperties
        const how: CallOptions = { ...options, ...(userProperties === undefined ? {} : { userProperties }) }
        return link.call(topic, payload, how)
      })
    },
  }
}

/** The worker's side: what it asks of devices goes out with the span that asks. */
export function tracedServices(services: GatewayServices, tracing: Tracing | undefined): GatewayServices {
  return tracing === undefined ? services : { ...services, field: handingTrace(services.field, tracing) }
}

function handingTrace(field: FieldPort, tracing: Tracing): FieldPort {
  return {
    request: <R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>> => {
      const trace = tracing.current()
      return field.request(trace === undefined ? request : { ...request, trace }, signal)
    },
  }
}

/** The gateway's side: each request of a handler or an HTTP caller is a span. */
export function tracedField(field: FieldPort, tracing: Tracing): FieldPort {
  return {
    request: <R extends FieldRequest>(traced: R, signal?: AbortSignal): Promise<FieldResponse<R>> => {
      const { trace, ...bare } = traced as TracedRequest
      const request = bare as R
      const start = {
        name: `modbus ${request.op}`,
        kind: 'client' as const,
        parent: trace,
        attributes: { 'modbus.operation': request.op, 'modbus.device_id': request.device_id, ...extentOf(request) },
      }
      return inSpan(tracing, start, () => field.request(request, signal))
    },
  }
}

/** Which registers and how many points: never what is in them. */
function extentOf(request: FieldRequest): Record<string, string | number> {
  switch (request.op) {
    case 'read': {
      const { register_type, address, count, source } = request
      return {
        'modbus.register_type': register_type,
        'modbus.address': address,
        'modbus.count': count,
        'modbus.source': source ?? 'live',
      }
    }
    case 'read_points':
      return { 'modbus.points': request.points.length, 'modbus.source': request.source ?? 'live' }
    case 'write':
      return { 'modbus.items': request.items.length }
    case 'identify':
      return {}
    default:
      return request satisfies never
  }
}
