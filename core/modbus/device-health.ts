import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Breaker } from './breaker.js'
import type { AnswerWait } from './bus/bus.js'
import type { BusError } from './bus/bus-error.js'
import type { DeviceState } from './field-event.js'
import { isUnanswered, quarantinedError, verdictOf } from './field-failure.js'
import { type ProbeBudget, Quarantine } from './quarantine.js'
import { TrialTime } from './trial-time.js'

/** Requests of callers in a row that were waited for in vain, after which a read waits like a trial. */
const SUSPECT_AFTER = 2
/** The same of a device that never answered and has neighbours who wait for the bus. */
const STRANGER_SUSPECT_AFTER = 1

export interface DeviceHealthContext {
  readonly clock: Clock
  readonly breaker: { readonly failures: number; readonly recoveryMs: number }
  /** Of its bus. */
  readonly probes: ProbeBudget
  /** Whether its bus has no other device that could be held up. */
  readonly isAlone: () => boolean
  readonly isBusAway: () => boolean
  readonly onState: (state: DeviceState, before: DeviceState) => void
  readonly onBreaker: (state: 'open' | 'closed') => void
}

/** Whether a device answers, as its requests show: its state, its quarantine for polls and its breaker for callers. */
export class DeviceHealth {
  readonly breaker: Breaker
  readonly quarantine = new Quarantine()
  readonly #device: string
  readonly #bus: string
  readonly #context: DeviceHealthContext
  readonly #trialTime = new TrialTime()
  #state: DeviceState = { name: 'unknown' }
  /** Monotonic milliseconds when a connection last broke under a poll. */
  #lostAt = Number.NEGATIVE_INFINITY
  /** Monotonic milliseconds of the last trial of the breaker. */
  #triedAt = Number.NEGATIVE_INFINITY
  #hasAnswered = false
  /** Requests of callers that were waited for in vain, in a row. A bus that is away tells nothing of how long a unit takes. */
  #silences = 0
  #isRetired = false

  constructor(device: string, bus: string, context: DeviceHealthContext) {
    this.#device = device
    this.#bus = bus
    this.#context = context
    this.breaker = new Breaker(context.breaker)
  }

  get state(): DeviceState {
    return this.#state
  }

  /** It seems dead: those who ask for it are not to hold up its neighbours. */
  get isSuspect(): boolean {
    const isStranger = !this.#hasAnswered && !this.#context.isAlone()
    return this.quarantine.active || this.#silences >= (isStranger ? STRANGER_SUSPECT_AFTER : SUSPECT_AFTER)
  }

  /** A caller's request that goes now would be a trial of the breaker. */
  get isOnTrial(): boolean {
    return this.breaker.state.name !== 'closed'
  }

  get isRetired(): boolean {
    return this.#isRetired
  }

  /** The fleet has the device no more, or has another in its place: what it still reads changes no state and is not cached. */
  retire(): void {
    this.#isRetired = true
  }

  /**
   * How long a caller's request that goes to the wire now is waited for: `wholeMs`, or less where the device seems dead; a
   * poll may take `pollMs`. So is the first try of a read where others wait for the bus and the device has answered before: if
   * it fell silent meanwhile, its polls will show it before the second try, which is given the whole time.
   */
  wait(kind: 'read' | 'write', mayRepeat: boolean, wholeMs: number, pollMs: number): AnswerWait {
    const enoughMs = this.#trialTime.brief(wholeMs, pollMs)
    if (this.isSuspect) {
      // Polls wait for less than the record says: a unit that never answered them may be a slow one, which once is waited for.
      const isTold = this.#hasAnswered || this.#silences > 0
      // The outcome of a write that is cut short is not known: only where one knows how long the unit takes.
      const isBrief = kind === 'read' ? isTold : this.isOnTrial && this.#trialTime.isKnown
      return { timeoutMs: isBrief ? this.#trialTime.next(wholeMs, pollMs) : wholeMs, enoughMs }
    }
    if (!mayRepeat || !this.#hasAnswered || this.#context.isAlone()) return { timeoutMs: wholeMs, enoughMs }
    return { timeoutMs: enoughMs, answersWithinMs: wholeMs }
  }

  /** Why a caller's request that waited may not go to the wire: the device was found dead meanwhile. */
  refusal(kind: 'read' | 'write', wasQuarantined: boolean): RouteMQError | undefined {
    if (this.isOnTrial) return this.#openError()
    const isFoundSilent = kind === 'read' && this.quarantine.active && !wasQuarantined && !this.#context.isAlone()
    return isFoundSilent ? quarantinedError(this.#device, this.#bus) : undefined
  }

  /**
   * Lets a caller's request through that may take `timeoutMs`. A trial is paid for like a probe: silent units cost their bus
   * a bounded share, whoever asks for them. Whoever got through reports back by {@link answered} or {@link failed}.
   *
   * @throws RouteMQError BREAKER_OPEN
   */
  pass(timeoutMs: number): void {
    const { clock, probes, isAlone } = this.#context
    const now = clock.monotonic()
    if (this.breaker.retryAfter(now) > 0) throw this.#openError()
    const isClosed = this.breaker.state.name === 'closed'
    const mayPass = isClosed || isAlone() || probes.claimNow(timeoutMs, this.#triedAt, now)
    if (!mayPass || !this.breaker.tryPass(now)) throw this.#openError()
    if (!isClosed) this.#triedAt = now
  }

  /** A request of a caller went to the wire while the device seemed dead. */
  trialBegan(): void {
    this.#trialTime.began()
  }

  /** A request of a caller was answered. */
  answered(roundTripMs: number): void {
    this.#trialTime.answered(roundTripMs)
    this.alive()
  }

  /** A request of a caller failed; one that was a `trial` and told nothing may be followed by another. */
  failed(error: BusError, trial: boolean): void {
    const verdict = verdictOf(error)
    if (error.failure.kind === 'timeout') this.quarantine.doubt()
    if (verdict === 'failed' && isUnanswered(error) && error.failure.kind !== 'lost') this.#silences += 1
    if (verdict === 'alive') this.alive()
    else if (verdict === 'failed') this.#fail()
    else if (trial) this.breaker.abstain(this.#context.clock.monotonic())
  }

  /** A poll or probe failed that was sent at `sentAt`, monotonic milliseconds. */
  pollFailed(error: BusError, sentAt: number): void {
    if (isUnanswered(error)) this.#unanswered(error, sentAt)
    else if (verdictOf(error) === 'alive') this.alive()
  }

  /** The device answered somebody: whatever held it back is over. */
  alive(): void {
    this.#hasAnswered = true
    this.#silences = 0
    const wasOpen = this.breaker.state.name !== 'closed'
    this.breaker.succeed()
    if (wasOpen && !this.#isRetired) this.#context.onBreaker('closed')
    this.quarantine.alive()
    this.#set('online')
  }

  /** The bus of this device went away or came back. */
  busChanged(up: boolean): void {
    if (!up) this.#set('bus_down')
    else if (this.#state.name === 'offline' && this.#state.reason === 'bus_down') this.#set('unknown')
  }

  #unanswered(error: BusError, sentAt: number): void {
    const now = this.#context.clock.monotonic()
    if (error.failure.kind === 'lost') {
      // One that takes connections and closes them is away as a whole: no fault of who was asked just then.
      if (this.#context.isBusAway()) return
      // Requests that one broken connection took with it are one failure: its end may be that of the bus.
      if (sentAt < this.#lostAt) return
      this.#lostAt = now
    }
    this.quarantine.silent(now)
    // Also where it was in quarantine before: its bus may have been away and back meanwhile.
    if (this.quarantine.active) this.#set('silent')
  }

  #openError(): RouteMQError {
    const now = this.#context.clock.monotonic()
    const wait = this.breaker.retryAfter(now) || Math.max(1_000, this.#context.probes.waitMs(now))
    return new RouteMQError(
      'BREAKER_OPEN',
      `Device ${this.#device} failed repeatedly and is left alone for another ${Math.ceil(wait / 1_000)} s`,
      { details: { device_id: this.#device, bus: this.#bus, retry_after_ms: Math.ceil(wait) } },
    )
  }

  #fail(): void {
    const before = this.breaker.state
    this.breaker.fail(this.#context.clock.monotonic())
    const after = this.breaker.state
    // A trial that failed opens it again: nothing changed that anybody could see.
    if (before.name !== 'closed' || after.name !== 'open' || this.#isRetired) return
    this.#context.onBreaker('open')
    // A device that nobody polls goes offline with its breaker; what follows from the bus was said for the bus.
    if (this.#state.name !== 'offline') this.#set('silent')
  }

  #set(next: 'unknown' | 'online' | 'silent' | 'bus_down'): void {
    const now = this.#state.name === 'offline' ? this.#state.reason : this.#state.name
    if (now === next || this.#isRetired) return
    const before = this.#state
    this.#state = next === 'unknown' || next === 'online' ? { name: next } : { name: 'offline', reason: next }
    this.#context.onState(this.#state, before)
  }
}
