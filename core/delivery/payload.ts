import { decodePayload } from '../mqtt/codec.js'
import type { InboundMessage } from '../mqtt/message.js'
import type { Route } from '../router/route.js'
import { RouteMQError } from '../support/errors.js'

/** The payload as the route's codec or the content type says. Throws PAYLOAD_TOO_LARGE, PAYLOAD_MALFORMED. */
export function decode(message: InboundMessage, route: Route, maxBytes: number): unknown {
  const { payload, properties } = message
  // The lane hands an oversized payload on without its bytes.
  const bytes = message.oversize ?? payload.length
  if (bytes > maxBytes || message.oversize !== undefined) {
    throw new RouteMQError('PAYLOAD_TOO_LARGE', `the payload has ${bytes} bytes, ${maxBytes} are allowed`, {
      details: { bytes, limit: maxBytes },
    })
  }
  try {
    return decodePayload(payload, route.codec, properties.contentType)
  } catch (cause) {
    if (cause instanceof RouteMQError) throw cause
    // Nesting deep enough to exhaust the stack ends here too.
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new RouteMQError('PAYLOAD_MALFORMED', `the payload cannot be decoded: ${reason}`, { cause })
  }
}
