import { ERROR_CODES, type ErrorCode, type ErrorCodeFacts } from './error-codes.js'
import { jsonSafe } from './json-safe.js'

export interface RouteMQErrorOptions {
  /** Facts for machines and people: field names, limits, ids. JSON-serialisable, free of secrets. */
  readonly details?: Readonly<Record<string, unknown>>
  /** What it was made from; for logs, never sent to anybody. */
  readonly cause?: unknown
}

/** The one error type that crosses parts, processes and protocols. The code is stable; the message is for a person. */
export class RouteMQError extends Error {
  override readonly name = 'RouteMQError'
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: ErrorCode, message: string, options: RouteMQErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details
  }

  /** HTTP status, whether trying again may help, and what to do, by its code. */
  get facts(): ErrorCodeFacts {
    return ERROR_CODES[this.code]
  }
}

/** An error as it travels over IPC, MQTT and into records: `{ "error": <this> }` on the wire. */
export interface ErrorShape {
  readonly code: ErrorCode
  readonly message: string
  readonly details?: Readonly<Record<string, unknown>>
}

/** What went wrong, in the shape that may leave the process. Unknown errors keep their message, never their stack. */
export function toErrorShape(error: unknown, fallback: ErrorCode = 'INTERNAL'): ErrorShape {
  if (error instanceof RouteMQError) {
    const details = jsonSafe(error.details)
    return details === undefined
      ? { code: error.code, message: error.message }
      : { code: error.code, message: error.message, details }
  }
  return { code: fallback, message: error instanceof Error ? error.message : String(error) }
}

/** The reverse of {@link toErrorShape}, for the far side of IPC. */
export function fromErrorShape(shape: ErrorShape): RouteMQError {
  return new RouteMQError(shape.code, shape.message, shape.details === undefined ? {} : { details: shape.details })
}

/** True where running the same message again may end differently. What is not ours may always be tried again. */
export function isRetryable(error: unknown): boolean {
  return error instanceof RouteMQError ? error.facts.retry : true
}
