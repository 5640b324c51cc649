import type { ErrorShape } from '../support/errors.js'

/**
 * What an answer looks like: an object gets the `request_id` beside its fields, anything else goes under `result`.
 * Bytes go out as they are; the correlation data tells whose they are.
 */
export function replyBody(value: unknown, requestId: string | number | undefined): unknown {
  if (requestId === undefined || Buffer.isBuffer(value) || value instanceof Uint8Array) return value
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { request_id: requestId, result: value }
  return { request_id: requestId, ...value }
}

export function errorBody(error: ErrorShape, requestId: string | number | undefined): unknown {
  return requestId === undefined ? { error } : { request_id: requestId, error }
}
