/**
 * What parts make spans with. There is one only where an endpoint is configured; everywhere else it is undefined, and
 * nothing of it is loaded.
 */
export interface Tracing {
  /** Begins a span; its parent is the given trace context, else the span that {@link run} runs under. */
  start(span: SpanStart): Span
  /** The trace context that {@link run} runs under. */
  current(): string | undefined
  /** Runs work, and all that it awaits, under a span. */
  run<T>(span: Span, work: () => T): T
  /** Sends what waits. */
  close(): Promise<void>
}

export interface SpanStart {
  readonly name: string
  readonly kind: 'server' | 'client' | 'consumer' | 'producer'
  /** A `traceparent`, as it came from elsewhere; what is none counts as absent. */
  readonly parent?: unknown
  /** Names of things, never their values: no payload, no credential. */
  readonly attributes: Readonly<Record<string, string | number | boolean>>
}

export interface Span {
  /** `traceparent` of W3C Trace Context. */
  readonly context: string
  /** With an error the span counts as failed; its code is told, its message is not: that may quote what was sent. */
  end(error?: unknown, attributes?: Readonly<Record<string, string | number>>): void
}

/** Runs work under a span that ends with it. */
export function inSpan<T>(tracing: Tracing, start: SpanStart, work: (span: Span) => Promise<T>): Promise<T> {
  const span = tracing.start(start)
  return tracing.run(span, async () => {
    try {
      const value = await work(span)
      span.end()
      return value
    } catch (error) {
      span.end(error)
      throw error
    }
  })
}
