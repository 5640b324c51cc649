import type { ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'
import { BusError } from './bus/bus-error.js'
import type { RegisterType } from './field.js'
import type { ModbusCall } from './transport/transport.js'

/** Meanings of exception codes (Modbus Application Protocol V1.1b3, section 7). */
export const EXCEPTIONS: Readonly<Record<number, { readonly name: string; readonly code: ErrorCode }>> = {
  1: { name: 'illegal function', code: 'MODBUS_ILLEGAL_FUNCTION' },
  2: { name: 'illegal data address', code: 'MODBUS_ILLEGAL_ADDRESS' },
  3: { name: 'illegal data value', code: 'MODBUS_ILLEGAL_VALUE' },
  4: { name: 'server device failure', code: 'DEVICE_FAILURE' },
  5: { name: 'acknowledge', code: 'MODBUS_ACKNOWLEDGE' },
  6: { name: 'server device busy', code: 'DEVICE_BUSY' },
  7: { name: 'negative acknowledge', code: 'DEVICE_FAILURE' },
  8: { name: 'memory parity error', code: 'DEVICE_FAILURE' },
  10: { name: 'gateway path unavailable', code: 'MODBUS_GATEWAY_PATH' },
  11: { name: 'gateway target device failed to respond', code: 'DEVICE_TIMEOUT' },
}

/** What a caller of a busy device is told to wait, milliseconds. */
const BUSY_RETRY_MS = 1_000
export const ACKNOWLEDGE = 5
export const BUSY = 6
/** "While attempting to perform the requested action" (section 7): that a write failed in the middle, not that it was refused. */
export const FAILED_MIDWAY: ReadonlySet<number> = new Set([4, 8])
export const GATEWAY_PATH = 10
export const GATEWAY_TARGET = 11

/** What a failure tells about the device. */
export type Verdict =
  /** It answered. */
  | 'alive'
  /** It did not, or the connection to it broke. */
  | 'failed'
  /** Nothing was learned: the request never got to it, or its caller went away. */
  | 'nothing'

/** What to conclude about a device from a failed request. Exceptions are signs of life, all but 0A and 0B. */
export function verdictOf(error: BusError): Verdict {
  const { failure } = error
  switch (failure.kind) {
    case 'exception':
      if (failure.exceptionCode === GATEWAY_PATH) return 'nothing'
      return failure.exceptionCode === GATEWAY_TARGET ? 'failed' : 'alive'
    case 'timeout':
    case 'lost':
    case 'protocol':
    case 'not_sent':
    case 'unreachable':
      return 'failed'
    case 'aborted':
    case 'expired':
    case 'refused':
    case 'overloaded':
    case 'cancelled':
    case 'stopped':
      return 'nothing'
  }
}

/**
 * True where a request went out and the unit did not answer it, whoever was at fault: silence, a connection that broke,
 * nonsense, or a gateway that says so. What never went out says nothing; a lost bus speaks for itself.
 */
export function isUnanswered(error: BusError): boolean {
  const { failure } = error
  switch (failure.kind) {
    case 'timeout':
    case 'lost':
    case 'protocol':
      return true
    case 'exception':
      return failure.exceptionCode === GATEWAY_PATH || failure.exceptionCode === GATEWAY_TARGET
    default:
      return false
  }
}

/** True where a request went out, or found no way to its device. What was withheld or taken back before that was none. */
export function wasTried({ failure }: BusError): boolean {
  switch (failure.kind) {
    case 'refused':
    case 'overloaded':
    case 'stopped':
      return false
    case 'expired':
    case 'cancelled':
      return failure.sent
    default:
      return true
  }
}

export function exceptionOf(error: BusError): number | undefined {
  return error.failure.kind === 'exception' ? error.failure.exceptionCode : undefined
}

const TYPE_OF_FUNCTION: Readonly<Record<number, RegisterType>> = {
  1: 'coil',
  2: 'discrete',
  3: 'holding',
  4: 'input',
  5: 'coil',
  6: 'holding',
  15: 'coil',
  16: 'holding',
  22: 'holding',
  23: 'holding',
}
const FIRST_REFERENCE: Readonly<Record<RegisterType, number>> = {
  coil: 1,
  discrete: 10_001,
  input: 30_001,
  holding: 40_001,
}

/** An address as people see it: `holding 10 (40011)`, or `holding 10-19 (40011)` for more than one. */
export function describeAddress(type: RegisterType, address: number, count = 1): string {
  // Five-digit references end at 9999; beyond that the six-digit form.
  const first = FIRST_REFERENCE[type]
  const reference = address < 9_999 ? first + address : (first - 1) * 10 + address + 1
  const digits = address < 9_999 ? 5 : 6
  const range = count === 1 ? `${address}` : `${address}-${address + count - 1}`
  return `${type} ${range} (${String(reference).padStart(digits, '0')})`
}

/** A call as people see it: `function 3, holding 10 (40011)`. */
export function describeCall(call: ModbusCall): string {
  switch (call.fc) {
    case 1:
    case 2:
    case 3:
    case 4:
      return `function ${call.fc}, ${describeAddress(TYPE_OF_FUNCTION[call.fc]!, call.address, call.count)}`
    case 5:
    case 6:
    case 22:
      return `function ${call.fc}, ${describeAddress(TYPE_OF_FUNCTION[call.fc]!, call.address)}`
    case 15:
    case 16:
      return `function ${call.fc}, ${describeAddress(TYPE_OF_FUNCTION[call.fc]!, call.address, call.values.length)}`
    case 23:
      return `function 23, writing ${describeAddress('holding', call.writeAddress, call.values.length)} and reading ${describeAddress('holding', call.readAddress, call.readCount)}`
    case 'raw':
      return `function ${call.functionCode}`
    default:
      return `function ${call.fc}`
  }
}

export interface FailureContext {
  readonly device: string
  readonly bus: string
  readonly unit: number
  readonly call: ModbusCall
  readonly timeoutMs: number
}

/** What a poll of a device in quarantine fails with that was not sent. */
export function quarantinedError(device: string, bus: string): RouteMQError {
  return new RouteMQError('DEVICE_TIMEOUT', `Device ${device} does not answer and is asked less often`, {
    details: { device_id: device, bus, quarantined: true },
  })
}

/** The error a caller sees for a failed request: its code, and a sentence that names device, function and address. */
export function toFieldError(error: unknown, context: FailureContext): RouteMQError {
  if (error instanceof RouteMQError) return error
  const what = describeCall(context.call)
  const who = `Device ${context.device}`
  const details = { device_id: context.device, bus: context.bus, unit: context.unit }
  if (!(error instanceof BusError))
    return new RouteMQError('INTERNAL', `${who}: ${what} failed`, { details, cause: error })
  const fail = (code: ErrorCode, message: string, more: Record<string, unknown> = {}) =>
    new RouteMQError(code, message, { details: { ...details, ...more }, cause: error })
  const { failure } = error
  switch (failure.kind) {
    case 'exception': {
      const known = EXCEPTIONS[failure.exceptionCode]
      const name = known?.name ?? 'unknown exception'
      return fail(
        known?.code ?? 'DEVICE_FAILURE',
        `${who} answered ${what} with exception ${failure.exceptionCode}, ${name}`,
        {
          exception: failure.exceptionCode,
          ...(failure.exceptionCode === BUSY ? { retry_after_ms: BUSY_RETRY_MS } : {}),
        },
      )
    }
    case 'timeout': {
      const timeoutMs = error.timeoutMs ?? context.timeoutMs
      return fail('DEVICE_TIMEOUT', `${who} did not answer ${what} within ${timeoutMs} ms`, { timeout_ms: timeoutMs })
    }
    case 'lost':
      return fail('DEVICE_UNREACHABLE', `The connection to ${context.bus} broke while ${who} was to answer ${what}`)
    case 'not_sent':
    case 'unreachable':
      return fail('DEVICE_UNREACHABLE', `${who} cannot be reached at ${context.bus}: ${error.message}`)
    case 'protocol':
      return fail('MODBUS_PROTOCOL', `${who} answered ${what} with nonsense: ${error.message}`)
    case 'expired':
      return fail(
        'COMMAND_EXPIRED',
        failure.sent
          ? `The deadline passed before device ${context.device} answered ${what}`
          : `The deadline passed before ${what} could be sent to device ${context.device}`,
      )
    case 'refused':
      return error.cause instanceof RouteMQError ? error.cause : fail('INTERNAL', error.message)
    case 'overloaded':
      return fail(
        'BUS_OVERLOADED',
        `${failure.limit} requests for device ${context.device} wait already at ${context.bus}`,
      )
    case 'stopped':
      return fail(
        'SHUTTING_DOWN',
        `Bus ${context.bus} is being closed; ${what} was not sent to device ${context.device}`,
      )
    case 'cancelled':
    case 'aborted':
      return fail('REQUEST_CANCELLED', `The caller gave up on ${what} of device ${context.device}`, {
        sent: failure.kind === 'aborted' || failure.sent,
      })
  }
}
