import { TransportError, type TransportFailure } from '../transport/transport.js'

/** Why a bus could not bring an answer: what the wire said, or that the request never got there. */
export type BusFailure =
  | TransportFailure
  /** Its deadline passed while it waited or, for a read only, while an answer was on its way. */
  | { readonly kind: 'expired'; readonly sent: boolean }
  /** The queue of the device is full. */
  | { readonly kind: 'overloaded'; readonly limit: number }
  /** The caller gave up while it waited, or while an answer was on its way. */
  | { readonly kind: 'cancelled'; readonly sent: boolean }
  /** When its turn had come it was no longer allowed. */
  | { readonly kind: 'refused' }
  /** The bus could not be opened. */
  | { readonly kind: 'unreachable' }
  /** The bus is being closed. */
  | { readonly kind: 'stopped' }

export class BusError extends Error {
  override readonly name = 'BusError'
  readonly failure: BusFailure
  /** Milliseconds the answer was waited for, where the request was sent. */
  readonly timeoutMs: number | undefined

  constructor(message: string, failure: BusFailure, options?: ErrorOptions & { readonly timeoutMs?: number }) {
    super(message, options)
    this.failure = failure
    this.timeoutMs = options?.timeoutMs
  }

  /** True where the request provably never reached the wire. */
  get notSent(): boolean {
    const { failure } = this
    switch (failure.kind) {
      case 'not_sent':
      case 'refused':
      case 'overloaded':
      case 'unreachable':
      case 'stopped':
        return true
      case 'expired':
      case 'cancelled':
        return !failure.sent
      default:
        return false
    }
  }
}

/** What ended a request on the wire, where an answer was waited for `timeoutMs`. */
export function toBusError(error: unknown, timeoutMs: number): BusError {
  // What kept it back until its turn on the line had come.
  if (error instanceof TransportError && error.cause instanceof BusError) return error.cause
  if (error instanceof TransportError) return new BusError(error.message, error.failure, { cause: error, timeoutMs })
  const message = error instanceof Error ? error.message : String(error)
  return new BusError(message, { kind: 'protocol' }, { cause: error })
}
