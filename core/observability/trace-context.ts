import type { SpanContext } from '@opentelemetry/api'

/** `version-traceid-parentid-flags` (W3C Trace Context, 3.2); later versions may go on after the flags. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** The span that a `traceparent` names; undefined where the text is none. It comes from strangers. */
export function parseTraceparent(value: unknown): SpanContext | undefined {
  // A user property or a header that is there twice is a list.
  if (typeof value !== 'string' || value.length > 128) return undefined
  const [, version, traceId, spanId, flags, rest] = TRACEPARENT.exec(value) ?? []
  if (traceId === undefined || spanId === undefined || version === 'ff') return undefined
  if (version === '00' && rest !== undefined) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, traceFlags: Number.parseInt(flags!, 16) & 1, isRemote: true }
}

export function formatTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
