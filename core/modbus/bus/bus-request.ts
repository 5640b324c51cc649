import type { RouteMQError } from '../../support/errors.js'
import type { LineEcho } from '../transport/line-echo.js'
import type { ModbusAnswer, ModbusCall } from '../transport/transport.js'
import type { BusError } from './bus-error.js'
import type { QueueJob } from './queue.js'

/** Settings of one bus; where its devices differ the more careful value holds. Milliseconds. */
export interface BusSettings {
  /** On each connection. */
  readonly inFlight: number
  readonly connections: number
  readonly silenceMs: number
  readonly unitSwitchMs: number
  readonly lateGraceMs: number
  /** After an answer, how long a copy of it may come; holds from the next connect on. */
  readonly copyGraceMs: number
  /** The line is known to give back what is sent; see {@link LineEcho}. */
  readonly localEcho: boolean
  readonly idleCloseMs: number
  readonly connectTimeoutMs: number
}

/** How long the answer to one request is waited for, milliseconds. */
export interface AnswerWait {
  readonly timeoutMs: number
  /**
   * Silence of so long says enough about the unit: a read whose caller has left is not waited for longer where ids tell a
   * late answer apart. @default timeoutMs
   */
  readonly enoughMs?: number
  /**
   * The unit may answer until then all the same: where no ids tell a late answer apart, requests that look like this one wait.
   * @default what was waited
   */
  readonly answersWithinMs?: number
}

export interface BusRequest extends QueueJob {
  readonly call: ModbusCall
  /** Decided when the request goes to the wire: what is known of the unit by then counts. */
  readonly wait: () => AnswerWait
  /** Monotonic milliseconds; past it the request is not sent. */
  readonly deadline?: number | undefined
  /** Silence before this request, milliseconds. */
  readonly delayMs?: number | undefined
  /** Requests of one class this device may have waiting. */
  readonly limit: number
  readonly signal?: AbortSignal | undefined
  /** Asked when its turn has come: why it may not go to the wire any more. */
  readonly refusal?: (() => RouteMQError | undefined) | undefined
  /** Runs when the request goes to the wire. */
  readonly onSent?: (() => void) | undefined
  /**
   * Runs once, when the bus is done with the request: unsent, or when the wire is done with it, whatever became of the
   * caller. Before the next one goes to the wire: a promise would tell only after that.
   */
  readonly onEnd?: ((end: BusAnswer | BusError) => void) | undefined
}

export interface BusAnswer extends ModbusAnswer {
  /** Milliseconds from the first byte to the complete answer. */
  readonly roundTripMs: number
  /** Wall clock milliseconds when the answer was complete. */
  readonly completedAt: number
  /** It was taken in long after its time-out: it came while this process could not run, and nobody knows when. */
  readonly isHeldUp: boolean
}

/** True for calls that change the device; a raw call may. */
export function isWrite(call: ModbusCall): boolean {
  switch (call.fc) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 17:
    case 43:
      return false
    default:
      return true
  }
}
