import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { ERROR_CODES, type ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'

/** A problem document (RFC 9457) with the members of ours: the stable code, what to do, the fields at fault. */
export const problemSchema = z
  .object({
    type: z.string().describe('A URN that names the kind of problem.'),
    title: z.string(),
    status: z.number().int(),
    detail: z.string().describe('What went wrong this time, a sentence for a person.'),
    code: z.string().describe('Stable; see the reference of errors.'),
    instance: z.string().describe('The path that was asked for.'),
    request_id: z.string(),
    advice: z.string(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem', description: 'A problem document (RFC 9457).' })

export type Problem = z.infer<typeof problemSchema>

export const PROBLEM_TYPE = 'application/problem+json'

/** Seconds to wait where nothing better is known. */
const DEFAULT_RETRY_AFTER = 1

interface Mistake {
  readonly field: string
  readonly message: string
}

/** The one shape in which the sidecar says no. */
export function toProblem(error: RouteMQError, instance: string, requestId: string): Problem {
  const facts = ERROR_CODES[error.code]
  const { fields, ...details } = error.details ?? {}
  const errors = isMistakes(fields) ? fields.map(({ field, message }) => ({ field, message })) : undefined
  return {
    type: `urn:routemq:error:${error.code}`,
    title: titleOf(error.code),
    // An outcome is never a redirect or a success here; a code that names one (202) is answered by its route.
    status: isAnswered(error) ? 502 : facts.status,
    detail: sentence(error),
    code: error.code,
    instance,
    request_id: requestId,
    advice: facts.advice,
    ...(errors === undefined ? {} : { errors }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
  }
}

/** A write that the device said it failed in: what it did is unknown, but it is no time-out. */
function isAnswered({ code, details }: RouteMQError): boolean {
  return code === 'WRITE_OUTCOME_UNKNOWN' && details?.exception !== undefined
}

/** Sends a problem document, with Retry-After where trying again later makes sense. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: RouteMQError): FastifyReply {
  const problem = toProblem(error, pathOf(request.url), request.id)
  if (problem.status === 503 || problem.status === 429) reply.header('retry-after', String(retryAfter(error)))
  return (
    reply
      .code(problem.status)
      .type(PROBLEM_TYPE)
      // Serialised here: a problem may answer any route, also one that does not list its status.
      .serializer((body) => JSON.stringify(body))
      .send(problem)
  )
}

/** Errors of Fastify's plugins and of an application's routes that say which status they mean. */
const CODES_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'REQUEST_MALFORMED',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  404: 'ROUTE_NOT_FOUND',
  408: 'REQUEST_TIMEOUT',
  413: 'PAYLOAD_TOO_LARGE',
  414: 'REQUEST_MALFORMED',
  415: 'MEDIA_TYPE_REFUSED',
  422: 'REQUEST_INVALID',
  429: 'THROTTLED',
}

/** Whatever was thrown, as one of our errors. What is not ours and not the client's doing is INTERNAL. */
export function toRouteMQError(error: unknown): RouteMQError {
  if (error instanceof RouteMQError) return error
  if (hasZodFastifySchemaValidationErrors(error)) return validationError(error)
  const known = error as Partial<FastifyError>
  switch (known.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new RouteMQError('MEDIA_TYPE_REFUSED', 'the body must be application/json', { cause: error })
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new RouteMQError('PAYLOAD_TOO_LARGE', 'the body is larger than the sidecar takes', { cause: error })
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new RouteMQError('PAYLOAD_MALFORMED', 'the body is not valid JSON', { cause: error })
    case 'FST_ERR_BAD_URL':
      return new RouteMQError('REQUEST_MALFORMED', 'the address is not a valid URL', { cause: error })
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new RouteMQError('REQUEST_MALFORMED', 'a part of the path is longer than any id or name', { cause: error })
    default:
  }
  // A body that cannot be parsed throws a SyntaxError with a status; one of a handler has none, and is a defect.
  if (error instanceof SyntaxError && known.statusCode === 400) {
    return new RouteMQError('PAYLOAD_MALFORMED', 'the body is not valid JSON', { cause: error })
  }
  const refusal = known.statusCode === undefined ? undefined : CODES_OF_STATUS[known.statusCode]
  if (refusal !== undefined) return new RouteMQError(refusal, 'the request was refused', { cause: error })
  return new RouteMQError('INTERNAL', 'something failed that should not; the log has the cause', { cause: error })
}

interface ValidationFailure {
  readonly validation: readonly {
    readonly instancePath: string
    readonly message?: string
    readonly params?: unknown
  }[]
  readonly validationContext?: string | undefined
}

function validationError(failure: ValidationFailure): RouteMQError {
  const fields = failure.validation.flatMap(({ instancePath, message, params }) => {
    const path = instancePath.split('/').filter((part) => part !== '')
    const unknown = (params as { keys?: unknown } | undefined)?.keys
    if (Array.isArray(unknown)) {
      return unknown.map((key) => ({ field: [...path, String(key)].join('.'), message: 'is not a known field' }))
    }
    return [{ field: path.join('.') || (failure.validationContext ?? 'request'), message: wordOf(message) }]
  })
  const named = fields.map(({ field, message }) => `${field}: ${message}`).join('; ')
  return new RouteMQError('REQUEST_INVALID', `The request is not valid: ${named}`, { details: { fields } })
}

/** zod's words, but for what is most often wrong: a field that is not there. */
function wordOf(message: string | undefined): string {
  if (message === undefined) return 'is not valid'
  return message.endsWith('received undefined') ? 'is needed' : message
}

/** The path without its query: queries may hold what a caller should have put elsewhere. */
export function pathOf(url: string): string {
  const end = url.indexOf('?')
  return end === -1 ? url : url.slice(0, end)
}

function retryAfter(error: RouteMQError): number {
  const { retry_after_ms: ms, retry_after: seconds } = error.details ?? {}
  if (typeof ms === 'number' && Number.isFinite(ms)) return Math.max(1, Math.ceil(ms / 1_000))
  if (typeof seconds === 'number' && Number.isFinite(seconds)) return Math.max(1, Math.ceil(seconds))
  return DEFAULT_RETRY_AFTER
}

function titleOf(code: ErrorCode): string {
  const words = code.toLowerCase().replaceAll('_', ' ')
  return words[0]!.toUpperCase() + words.slice(1)
}

function sentence({ message, details = {} }: RouteMQError): string {
  if (message === '') return 'No more is known.'
  // A name keeps its spelling: one such as device_id, and one that the facts name, as a point.
  const isNamed = Object.values(details).some((fact) => fact !== '' && message.startsWith(`${String(fact)} `))
  const isWord = !isNamed && /^[a-z]+(?![\w.])/.test(message)
  const start = isWord ? message[0]!.toUpperCase() + message.slice(1) : message
  return /[.!?]$/.test(start) ? start : `${start}.`
}

function isMistakes(value: unknown): value is readonly Mistake[] {
  return (
    Array.isArray(value) &&
    value.every((item) => typeof item === 'object' && item !== null && 'field' in item && 'message' in item)
  )
}
