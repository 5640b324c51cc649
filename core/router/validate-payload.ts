import { core, type ZodType } from 'zod'
import { RouteMQError } from '../support/errors.js'

/** One field of a payload that is not as the schema wants it. */
export interface FieldProblem {
  /** `points.0.value`; empty for the payload as a whole. */
  readonly path: string
  readonly message: string
}

/** The payload as the schema gives it back. Throws PAYLOAD_INVALID with `details.fields`. */
export function validatePayload(schema: ZodType, payload: unknown): unknown {
  try {
    const result = schema.safeParse(payload)
    return result.success ? result.data : refuse(result.error)
  } catch (error) {
    // zod says only while parsing that a schema has an asynchronous part.
    if (error instanceof core.$ZodAsyncError) return validateLater(schema, payload)
    throw error
  }
}

async function validateLater(schema: ZodType, payload: unknown): Promise<unknown> {
  const result = await schema.safeParseAsync(payload)
  return result.success ? result.data : refuse(result.error)
}

function refuse(error: core.$ZodError): never {
  const fields = fieldsOf(error.issues)
  const named = fields.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ')
  throw new RouteMQError('PAYLOAD_INVALID', `the payload is not as the route expects: ${named}`, {
    details: { fields },
  })
}

/** Names fields, not structures: each unknown key by itself, of a union the member that came closest. */
function fieldsOf(issues: readonly core.$ZodIssue[], prefix: readonly PropertyKey[] = []): FieldProblem[] {
  return issues.flatMap((issue) => {
    const path = [...prefix, ...issue.path]
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: [...path, key].map(String).join('.'), message: 'is not a known field' }))
    }
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      return issue.errors
        .map((member) => fieldsOf(member, path))
        .reduce((best, other) => (other.length < best.length ? other : best))
    }
    return [{ path: path.map(String).join('.'), message: issue.message }]
  })
}
