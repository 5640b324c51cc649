import type { Expected, Received } from './framing.js'
import type { ModbusAnswer, ModbusCall, TransportError } from './transport.js'

/** A call that was handed to the link. A class, not closures: a bus makes thousands a second. */
export class Pending implements Expected {
  readonly key: number
  readonly slot: number
  readonly unit: number
  readonly call: ModbusCall
  /** On the monotonic clock. */
  readonly deadline: number
  readonly timeoutMs: number
  readonly request: Uint8Array
  readonly resolve: (answer: ModbusAnswer) => void
  readonly reject: (error: TransportError) => void
  readonly signal: AbortSignal | undefined
  onAbort: (() => void) | undefined
  /** What came from this unit and cannot be the answer. */
  mismatch: string | undefined
  /** An answer that may be a copy of the one before; see answer-copies.ts. */
  held: Received | undefined

  constructor(
    facts: Pick<Pending, 'key' | 'slot' | 'unit' | 'call' | 'deadline' | 'timeoutMs' | 'request' | 'signal'>,
    resolve: (answer: ModbusAnswer) => void,
    reject: (error: TransportError) => void,
  ) {
    this.key = facts.key
    this.slot = facts.slot
    this.unit = facts.unit
    this.call = facts.call
    this.deadline = facts.deadline
    this.timeoutMs = facts.timeoutMs
    this.request = facts.request
    this.signal = facts.signal
    this.resolve = resolve
    this.reject = reject
  }

  /** True where `pdu` is how its unit refuses this call. */
  isException(pdu: Uint8Array): boolean {
    return pdu[0] === (this.request[0]! | 0x80) && pdu.length === 2
  }
}
