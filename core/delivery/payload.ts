import { decodePayload } from '../mqtt/codec.js'
import type { InboundMessage, WithheldPayload } from '../mqtt/message.js'
import { MAX_PROPERTY_BYTES } from '../mqtt/publish-properties.js'
import type { Route } from '../router/route.js'
import { RouteMQError } from '../support/errors.js'

const WITHHELD = {
  PROPERTIES_TOO_LARGE: `the MQTT 5 properties have more than ${MAX_PROPERTY_BYTES} bytes`,
  PAYLOAD_MALFORMED: 'the payload could not be decoded, and nothing of it was kept',
  PAYLOAD_LOST: 'the message was parked, and what was stored of its payload is damaged or gone',
} as const satisfies Record<WithheldPayload, string>

/** The payload as the route's codec or the content type says. Throws PAYLOAD_TOO_LARGE, PAYLOAD_MALFORMED, or why there is none. */
export function decode(message: InboundMessage, route: Route, maxBytes: number): unknown {
  const { payload, properties, withheld } = message
  // The lane hands an oversized payload on without its bytes.
  const bytes = message.oversize ?? payload.length
  if (bytes > maxBytes || message.oversize !== undefined) {
    throw new RouteMQError('PAYLOAD_TOO_LARGE', `the payload has ${bytes} bytes, ${maxBytes} are allowed`, {
      details: { bytes, limit: maxBytes },
    })
  }
  if (withheld !== undefined) throw new RouteMQError(withheld, WITHHELD[withheld])
  try {
    return decodePayload(payload, route.codec, properties.contentType)
  } catch (cause) {
    if (cause instanceof RouteMQError) throw cause
    // Nesting deep enough to exhaust the stack ends here too.
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new RouteMQError('PAYLOAD_MALFORMED', `the payload cannot be decoded: ${reason}`, { cause })
  }
}
