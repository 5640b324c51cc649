import type { Clock } from '../../support/clock.js'
import type { SendGate } from '../transport/transport.js'
import { BusError, type BusFailure } from './bus-error.js'
import { type AnswerWait, type BusAnswer, type BusRequest, isWrite } from './bus-request.js'
import type { JobClass, QueueJob } from './queue.js'

/**
 * A request on its way through a bus, settled once for its caller and ended once for the bus. A class with few fields: a bus
 * makes thousands a second, and closures for each would cost more than the queue itself.
 */
export class BusJob implements QueueJob {
  readonly request: BusRequest
  readonly device: string
  readonly unit: number
  readonly kind: JobClass
  readonly dueAt: number | undefined
  readonly intervalMs: number | undefined
  readonly writes: boolean
  /** How often it was given to a connection. */
  tries = 0
  /** Monotonic milliseconds. */
  sentAt = Number.NaN
  wait: AnswerWait = { timeoutMs: 0 }
  readonly #resolve: (answer: BusAnswer) => void
  readonly #reject: (error: BusError) => void
  #cancelDeadline: (() => void) | undefined
  #onAbort: (() => void) | undefined
  #hangUp: AbortController | undefined
  #isSettled = false

  constructor(request: BusRequest, resolve: (answer: BusAnswer) => void, reject: (error: BusError) => void) {
    this.request = request
    this.device = request.device
    this.unit = request.unit
    this.kind = request.kind
    this.dueAt = request.dueAt
    this.intervalMs = request.intervalMs
    this.writes = isWrite(request.call)
    this.#resolve = resolve
    this.#reject = reject
  }

  /** Calls `leave` when the deadline passes or the caller gives up, until {@link release}. */
  watch(clock: Clock, leave: (job: BusJob, message: string, failure: BusFailure) => void): void {
    const { deadline, signal } = this.request
    if (deadline !== undefined) {
      const late = () => leave(this, 'the deadline passed in the queue', { kind: 'expired', sent: false })
      this.#cancelDeadline = clock.after(deadline - clock.monotonic(), late)
    }
    if (signal !== undefined) {
      this.#listen(() => leave(this, 'cancelled in the queue', { kind: 'cancelled', sent: false }))
    }
  }

  /**
   * Keeps watching until the bytes go out: a line that is not quiet may hold them back for long. Deadline, caller and
   * refusal are looked at once more at that moment.
   */
  gate(clock: Clock): SendGate {
    const stop = new AbortController()
    this.release()
    this.watch(clock, (_, message, failure) => stop.abort(new BusError(message, failure)))
    return {
      signal: stop.signal,
      pass: () => {
        const now = clock.monotonic()
        const obstacle = this.obstacle(now)
        if (obstacle === undefined) this.sent(clock, now)
        return obstacle
      },
    }
  }

  /** Why the request may not go to the wire any more. */
  obstacle(now: number): BusError | undefined {
    const { deadline, signal, refusal } = this.request
    if (signal?.aborted === true) return new BusError('cancelled in the queue', { kind: 'cancelled', sent: false })
    if (deadline !== undefined && deadline <= now) {
      return new BusError('the deadline passed in the queue', { kind: 'expired', sent: false })
    }
    const why = refusal?.()
    return why === undefined ? undefined : new BusError(why.message, { kind: 'refused' }, { cause: why })
  }

  /**
   * Ends the wait on a wire where ids tell late answers apart, when the caller has left and silence has said enough.
   * Undefined where nobody can leave.
   */
  hangUpSignal(): AbortSignal | undefined {
    const { deadline, signal } = this.request
    if (this.writes || (deadline === undefined && signal === undefined)) return undefined
    this.#hangUp = new AbortController()
    return this.#hangUp.signal
  }

  /**
   * From here on the request is on the wire. A read whose caller gives up or has no time left is answered at once; the
   * wire goes on, so that its answer cannot meet another request, and an impatient caller is not taken for a dead device.
   * A write is waited for: only its end tells its outcome.
   */
  sent(clock: Clock, now: number): void {
    const { deadline, signal, onSent } = this.request
    this.release()
    this.sentAt = now
    if (!this.writes) {
      if (signal !== undefined) {
        this.#listen(() => this.#leave(clock, new BusError('cancelled while sent', { kind: 'cancelled', sent: true })))
      }
      if (deadline !== undefined && deadline < now + this.wait.timeoutMs) {
        const late = () => this.#leave(clock, new BusError('the deadline passed', { kind: 'expired', sent: true }))
        this.#cancelDeadline = clock.after(deadline - now, late)
      }
    }
    onSent?.()
  }

  /** Whether a request that its connection took with it may go out once more: a read, once, while its caller waits. */
  get mayGoAgain(): boolean {
    return !this.writes && !this.#isSettled && this.tries === 1
  }

  /** Takes timer and listener off. */
  release(): void {
    this.#cancelDeadline?.()
    this.#cancelDeadline = undefined
    if (this.#onAbort === undefined) return
    this.request.signal?.removeEventListener('abort', this.#onAbort)
    this.#onAbort = undefined
  }

  resolve(answer: BusAnswer): void {
    this.release()
    this.request.onEnd?.(answer)
    if (!this.#isSettled) this.#resolve(answer)
  }

  reject(error: BusError): void {
    this.release()
    this.request.onEnd?.(error)
    if (!this.#isSettled) this.#reject(error)
  }

  #leave(clock: Clock, error: BusError): void {
    this.release()
    this.#isSettled = true
    this.#reject(error)
    const hangUp = this.#hangUp
    if (hangUp === undefined) return
    const { timeoutMs, enoughMs = timeoutMs } = this.wait
    const left = Math.max(0, this.sentAt + enoughMs - clock.monotonic())
    this.#cancelDeadline = clock.after(left, () => hangUp.abort())
  }

  #listen(onAbort: () => void): void {
    this.#onAbort = onAbort
    this.request.signal?.addEventListener('abort', onAbort, { once: true })
  }
}
