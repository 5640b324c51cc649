import type { Span, Tracing } from '../observability/tracing.js'
import type { SidecarApp } from './app.js'

/**
 * Each request is a span; its parent is the `traceparent` header. Registered only where traces are made, and before all
 * other hooks, so that whatever a request does happens under its span.
 */
export function traceRequests(app: SidecarApp, tracing: Tracing): void {
  const spans = new WeakMap<object, Span>()
  app.addHook('onRequest', (request, _reply, done) => {
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown')
    const span = tracing.start({
      name: `${request.method} ${route}`,
      kind: 'server',
      parent: request.headers.traceparent,
      // Neither path nor query: they carry what callers write into them.
      attributes: {
        'http.request.method': request.method,
        'http.route': route,
        'routemq.request_id': request.id,
      },
    })
    spans.set(request, span)
    tracing.run(span, done)
  })
  app.addHook('onResponse', (request, reply, done) => {
    const failed = reply.statusCode >= 500 ? new Error() : undefined
    spans.get(request)?.end(failed, { 'http.response.status_code': reply.statusCode })
    done()
  })
  app.addHook('onRequestAbort', (request, done) => {
    spans.get(request)?.end(new Error())
    done()
  })
}
