import type { ErrorCode } from '../support/error-codes.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import { jsonSafe } from '../support/json-safe.js'
import { toKept } from './claims.js'
import type { DeliveryContext } from './context.js'
import { ownField } from './deadline.js'
import type { ClaimOutcome } from './delivery-store.js'
import type { Unit } from './unit.js'

const MAX_REQUEST_ID = 1_024

/** What may be stored is what the middleware left, once it had its turn; and of that, what can be stored. */
export function remember(unit: Unit, context: DeliveryContext): void {
  unit.raw = context.raw
  const { auth } = context
  unit.auth = auth === undefined ? undefined : jsonSafe(auth)
}

export function requestIdOf(payload: unknown): string | number | undefined {
  const id = ownField(payload, 'request_id')
  if (typeof id === 'string') return id.length > 0 && id.length <= MAX_REQUEST_ID ? id : undefined
  return typeof id === 'number' && Number.isFinite(id) ? id : undefined
}

export function keepable(outcome: ClaimOutcome): ClaimOutcome {
  if (!outcome.ok) return outcome
  try {
    return { ok: true, value: toKept(outcome.value) }
  } catch (error) {
    return { ok: false, error: toErrorShape(error, 'HANDLER_FAILED') }
  }
}

/** The truth about an attempt that ended while a write of its had no outcome. */
export function asUnknown(error: unknown): unknown {
  if (error instanceof RouteMQError && (error.code === 'WRITE_OUTCOME_UNKNOWN' || error.code === 'WRITE_PARTIAL')) {
    return error
  }
  const { message } = toErrorShape(error)
  return new RouteMQError('WRITE_OUTCOME_UNKNOWN', `a write may have been carried out: ${message}`, { cause: error })
}

/** A handler that broke somewhere, as against a clear no before anything was done. */
const BROKEN: ReadonlySet<ErrorCode> = new Set(['HANDLER_FAILED', 'HANDLER_TIMEOUT', 'WORKER_DIED', 'INTERNAL'])

export function isRefusal(error: unknown): boolean {
  return error instanceof RouteMQError && !BROKEN.has(error.code)
}
