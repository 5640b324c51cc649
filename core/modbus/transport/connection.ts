import type { Clock } from '../../support/clock.js'
import { AnswerCopies } from './answer-copies.js'
import { answerProblem, checkBroadcast, checkCall, mayAnswerLikeEcho } from './call-rules.js'
import { ClientPort, isParsedByClient, type ParsedValues, valuesOf } from './client-port.js'
import { DeadlineTimer } from './deadline-timer.js'
import type { Decoder, Expected, Framing, Received } from './framing.js'
import { EchoFilter, type LineEcho } from './line-echo.js'
import { LineQuiet } from './line-quiet.js'
import type { Link } from './link.js'
import { Pending } from './pending.js'
import { TransactionIds } from './transaction-ids.js'
import {
  type CallOptions,
  type ModbusAnswer,
  type ModbusCall,
  TransportError,
  type TransportFailure,
} from './transport.js'

/** Silence after which an answer behind unfinished bytes, or of no known length, is taken: longer than the lumps of adapters (16 ms). */
const SETTLE_MS = 50
const NO_DATA: Buffer = Buffer.alloc(0)

export interface ConnectionOptions {
  readonly link: Link
  readonly framing: Framing
  readonly maxInFlight: number
  /** Milliseconds without a byte before a request goes out, on framings without ids. */
  readonly quietMs: number
  /** Milliseconds after an answer in which a copy of it may begin, on framings without ids. */
  readonly copyMs: number
  /** Milliseconds a character takes on the line, 0 where there is none. */
  readonly characterMs: number
  /** How messages name the other end. */
  readonly name: string
  /** What is known of the line; without ids only. */
  readonly echo: LineEcho
  readonly clock: Clock
  /** A frame that is nobody's answer: late, duplicate, from a foreign unit. */
  readonly onStray: (facts: { unit: number; transaction: number | undefined; functionCode: number }) => void
  /** The stream can no longer be followed, or takes no more; the connection must be replaced. */
  readonly onBroken: (cause: Error) => void
}

/** The calls of one connection, from the first byte out to the answer or the reason why there is none. */
export class Connection {
  readonly #options: ConnectionOptions
  readonly #port = new ClientPort()
  readonly #decoder: Decoder
  /** By transaction id; on framings without, the one call in flight is under 0. */
  readonly #pending = new Map<number, Pending>()
  readonly #freeSlots: number[]
  readonly #bySlot: (Pending | undefined)[] = []
  readonly #transactions = new TransactionIds()
  #cancelSettle: (() => void) | undefined
  readonly #quiet: LineQuiet
  readonly #copies: AnswerCopies
  readonly #echo: EchoFilter
  /** The call in flight or, between calls, the last one: strange frames are told by its shape. Without ids only. */
  #shape: Expected | undefined
  readonly #deadlines: DeadlineTimer
  #over = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#decoder = options.framing.decoder()
    this.#quiet = new LineQuiet(options.name, options.clock, options.quietMs)
    this.#copies = new AnswerCopies(options)
    this.#echo = new EchoFilter(options.echo)
    this.#deadlines = new DeadlineTimer(options.clock, (now) => this.#expire(now))
    this.#freeSlots = Array.from({ length: options.maxInFlight }, (_, index) => options.maxInFlight - index)
  }

  call(unit: number, call: ModbusCall, options: CallOptions): Promise<ModbusAnswer> {
    const broadcast = unit === 0 && !this.#options.framing.hasTransactionIds
    try {
      checkCall(unit, call)
      if (broadcast) checkBroadcast(call)
    } catch (cause) {
      return Promise.reject(notSent((cause as Error).message, cause))
    }
    if (options.signal?.aborted === true) {
      return Promise.reject(notSent('aborted before sending', options.signal.reason))
    }
    if (this.#over) return Promise.reject(notSent(`${this.#options.name} is not connected`))
    const slot = this.#freeSlots.pop()
    if (slot === undefined) {
      return Promise.reject(
        notSent(`${this.#options.name} has ${this.#options.maxInFlight} calls in flight, its limit`),
      )
    }
    if (this.#options.framing.hasTransactionIds) {
      return this.#pass(slot, options) ?? this.#send(slot, unit, call, broadcast, options)
    }
    const startedAt = this.#options.clock.monotonic()
    // An answer is waited for at least as long as the line was: a unit must not look dead because others spoke.
    return this.#quiet
      .wait(options.timeoutMs / 2, waitSignal(options), (reason, cause) =>
        notSent(`${this.#options.name}: ${reason}`, cause),
      )
      .then(
        () => {
          const waitedMs = this.#options.clock.monotonic() - startedAt
          return this.#pass(slot, options) ?? this.#send(slot, unit, call, broadcast, options, waitedMs)
        },
        (error) => {
          this.#freeSlots.push(slot)
          throw error
        },
      )
  }

  /** A rejection where the gate of the call lets it out no more. */
  #pass(slot: number, { gate }: CallOptions): Promise<never> | undefined {
    const why = gate?.pass()
    if (why === undefined) return undefined
    this.#freeSlots.push(slot)
    return Promise.reject(notSent(`${this.#options.name}: ${why.message}`, why))
  }

  receive(heard: Buffer): void {
    let bytes = heard
    if (!this.#options.framing.hasTransactionIds) {
      this.#quiet.heard(this.#options.clock.monotonic())
      bytes = this.#echo.pass(heard)
      if (bytes.length === 0) return
    }
    this.#cancelSettle?.()
    this.#cancelSettle = undefined
    try {
      for (const frame of this.#decoder.push(bytes, this.#shape)) this.#answer(frame)
    } catch (cause) {
      const error = cause as Error
      this.fail(error.message, { kind: 'protocol' }, error)
      this.#options.onBroken(error)
      return
    }
    const expected = this.#options.framing.hasTransactionIds ? undefined : this.#pending.get(0)
    if (expected !== undefined && this.#decoder.unsettled) {
      this.#cancelSettle = this.#options.clock.after(SETTLE_MS, () => {
        const frame = this.#decoder.settle(expected)
        if (frame !== undefined) this.#answer(frame)
      })
    }
  }

  discardInput(): void {
    this.#cancelSettle?.()
    this.#cancelSettle = undefined
    this.#decoder.reset()
  }

  /** Rejects everything pending and everything to come. */
  fail(message: string, failure: TransportFailure, cause?: Error): void {
    this.#over = true
    this.#quiet.stop(message)
    this.#copies.ended()
    this.#deadlines.stop()
    this.discardInput()
    for (const pending of [...this.#pending.values()]) {
      this.#reject(pending, new TransportError(message, failure, { cause }))
    }
  }

  #send(
    slot: number,
    unit: number,
    call: ModbusCall,
    broadcast: boolean,
    { timeoutMs, signal }: CallOptions,
    waitedMs = 0,
  ): Promise<ModbusAnswer> {
    const { framing, link, clock, name, onBroken } = this.#options
    const leftMs = Math.max(timeoutMs - waitedMs, timeoutMs / 2)
    return new Promise((resolve, reject) => {
      const key = framing.hasTransactionIds ? this.#transactions.next(this.#pending) : 0
      const rtu = this.#port.encode(slot, unit, call, this.#parsed)
      const deadline = clock.monotonic() + leftMs
      const request = rtu.subarray(1, -2)
      const pending = new Pending({ key, slot, unit, call, deadline, timeoutMs, request, signal }, resolve, reject)
      this.#pending.set(key, pending)
      this.#bySlot[slot] = pending
      if (signal !== undefined) this.#listen(pending, signal)
      this.#deadlines.watch(deadline)
      const frame = framing.encode(key, rtu)
      if (!framing.hasTransactionIds) {
        this.discardInput()
        this.#shape = pending
        // A copy taken for the confirmation of a write would say that something was done which may not have been.
        const reads = call.fc === 1 || call.fc === 2 || call.fc === 3 || call.fc === 4
        this.#copies.sent(
          () => {
            if (pending.held !== undefined) this.#take(pending, pending.held)
          },
          reads ? leftMs : undefined,
        )
        this.#echo.sent(frame, rtu.length, reads && !mayAnswerLikeEcho(call))
      }
      const written = broadcast ? () => this.#resolve(pending, { values: [], data: NO_DATA }) : undefined
      if (link.write(frame, written)) return
      // A socket that failed takes nothing before it says so. To wait for that would let callers who ask again at once
      // keep the event loop from ever saying it.
      this.#reject(pending, notSent(`${name} is not connected`))
      onBroken(new Error('the connection takes nothing any more'))
    })
  }

  #listen(pending: Pending, signal: AbortSignal): void {
    pending.onAbort = () => {
      const cause = signal.reason
      this.#reject(pending, new TransportError('aborted after sending', { kind: 'aborted' }, { cause }))
    }
    signal.addEventListener('abort', pending.onAbort, { once: true })
  }

  /** What modbus-serial makes of an answer it was handed. */
  readonly #parsed = (slot: number, error: Error | null, data: ParsedValues): void => {
    const pending = this.#bySlot[slot]
    if (pending === undefined) return
    if (error === null) this.#resolve(pending, { values: valuesOf(pending.call, data), data: NO_DATA })
    else {
      this.#reject(pending, new TransportError(`${this.#who(pending)}: ${error.message}`, { kind: 'protocol' }))
    }
  }

  #resolve(pending: Pending, answer: ModbusAnswer): void {
    if (this.#settle(pending)) pending.resolve(answer)
  }

  #reject(pending: Pending, error: TransportError): void {
    if (this.#settle(pending)) pending.reject(error)
  }

  /** False where the call has ended already. */
  #settle(pending: Pending): boolean {
    if (this.#bySlot[pending.slot] !== pending) return false
    this.#bySlot[pending.slot] = undefined
    this.#pending.delete(pending.key)
    this.#freeSlots.push(pending.slot)
    if (pending.onAbort !== undefined) pending.signal?.removeEventListener('abort', pending.onAbort)
    if (!this.#options.framing.hasTransactionIds) {
      this.#copies.ended()
      this.#cancelSettle?.()
      this.#cancelSettle = undefined
    }
    return true
  }

  #answer(frame: Received): void {
    const { transaction, unit, pdu } = frame
    const pending = this.#pending.get(transaction ?? 0)
    if (pending === undefined || (transaction === undefined && pending.unit !== unit)) {
      this.#stray(frame)
      return
    }
    if (transaction === undefined && this.#echo.isEcho(pending.request, pdu)) return
    const problem = pending.unit === unit ? undefined : `answered as unit ${unit}`
    const mismatch =
      problem ?? (pending.isException(pdu) ? undefined : answerProblem(pending.call, pending.request, pdu))
    if (mismatch !== undefined && transaction !== undefined) {
      this.#reject(pending, new TransportError(`${this.#who(pending)}: ${mismatch}`, { kind: 'protocol' }))
    } else if (mismatch !== undefined) {
      // Without an id it may be another call's late answer; the right one may still come.
      pending.mismatch = mismatch
      this.#stray(frame)
    } else if (transaction !== undefined) {
      this.#take(pending, frame)
    } else if (pending.held !== undefined) {
      this.#copies.seen()
      this.#take(pending, frame)
    } else if (this.#copies.mayBe(frame)) {
      pending.held = { transaction, unit, pdu: Buffer.from(pdu) }
    } else {
      this.#take(pending, frame)
    }
  }

  #take(pending: Pending, frame: Received): void {
    const { unit, pdu } = frame
    if (frame.transaction === undefined) {
      this.#copies.taken(frame, this.#options.clock.monotonic())
      this.#echo.answered(pdu)
    }
    if (pending.isException(pdu)) {
      const failure = { kind: 'exception', exceptionCode: pdu[1]! } as const
      this.#reject(pending, new TransportError(`${this.#who(pending)} answered exception ${pdu[1]}`, failure))
    } else if (isParsedByClient(pending.call)) {
      this.#port.answer(pending.slot, unit, pdu)
    } else {
      this.#resolve(pending, { values: [], data: Buffer.from(pdu.subarray(1)) })
    }
  }

  #stray(frame: Received): void {
    const { transaction, unit, pdu } = frame
    if (transaction === undefined) {
      this.#quiet.heardStray(this.#options.clock.monotonic())
      this.#copies.stray(frame)
    }
    this.#options.onStray({ unit, transaction, functionCode: pdu[0]! })
  }

  #who({ unit }: Pending): string {
    return `${this.#options.name} unit ${unit}`
  }

  #expire(now: number): void {
    // Timers may come a fraction of a millisecond early.
    for (const pending of [...this.#pending.values()]) {
      if (pending.deadline > now + 0.5) continue
      if (!this.#options.framing.hasTransactionIds) this.#echo.unanswered()
      this.#reject(pending, this.#lateError(pending))
    }
    let next = Number.POSITIVE_INFINITY
    for (const { deadline } of this.#pending.values()) next = Math.min(next, deadline)
    if (next < Number.POSITIVE_INFINITY) this.#deadlines.watch(next)
  }

  #lateError(pending: Pending): TransportError {
    const who = this.#who(pending)
    if (pending.held !== undefined) {
      const message = `${who}: what came within ${pending.timeoutMs} ms may be a copy of the answer before`
      return new TransportError(message, { kind: 'protocol' })
    }
    return pending.mismatch === undefined
      ? new TransportError(`${who} did not answer within ${pending.timeoutMs} ms`, { kind: 'timeout' })
      : new TransportError(`${who} gave no valid answer within ${pending.timeoutMs} ms: ${pending.mismatch}`, {
          kind: 'protocol',
        })
  }
}

function waitSignal({ signal, gate }: CallOptions): AbortSignal | undefined {
  if (gate === undefined) return signal
  return signal === undefined ? gate.signal : AbortSignal.any([signal, gate.signal])
}

function notSent(message: string, cause?: unknown): TransportError {
  return new TransportError(message, { kind: 'not_sent' }, { cause })
}
