import type { Clock } from '../../support/clock.js'
import { nextPlanVersion } from '../planner/plan-version.js'
import { byteTime } from '../planner/wire-time.js'
import { type EchoState, LineEcho } from '../transport/line-echo.js'
import {
  type BusEndpoint,
  type CallOptions,
  type ModbusAnswer,
  type ModbusTransport,
  TransportError,
} from '../transport/transport.js'
import type { BusState } from './bus-connection.js'
import { BusConnections, type Lane, REOPEN_AFTER } from './bus-connections.js'
import { BusError, type BusFailure, toBusError } from './bus-error.js'
import { BusJob } from './bus-job.js'
import type { BusAnswer, BusRequest, BusSettings } from './bus-request.js'
import { LateAnswers } from './late-answers.js'
import { BusQueue } from './queue.js'
import { RoundTrips } from './round-trips.js'
import { Spacing } from './spacing.js'
import { WriteBarrier } from './write-barrier.js'

export type { BusState } from './bus-connection.js'
export type { AnswerWait, BusAnswer, BusRequest, BusSettings } from './bus-request.js'

export interface BusOptions {
  readonly id: string
  readonly endpoint: BusEndpoint
  readonly settings: BusSettings
  readonly createTransport: (endpoint: BusEndpoint, settings: BusSettings, echo: LineEcho) => ModbusTransport
  readonly clock: Clock
  readonly random: () => number
  /** Milliseconds to wait before a connect, shared by all buses of a host. */
  readonly claimConnect: () => number
  readonly onState: (state: BusState) => void
  /** See {@link BusConnectionOptions.predecessor}. */
  readonly predecessor?: Promise<unknown> | undefined
  /** A read showed whether the line gives back what is sent. */
  readonly onEcho?: (state: EchoState) => void
}

/** How late a busy process may take in what came in time, milliseconds. */
const HELD_UP_MS = 100

/**
 * The one owner of the way to an endpoint: everything that goes to its wire goes through its queue. Nothing here knows
 * what a device or a point is.
 */
export class Bus {
  readonly id: string
  readonly endpoint: BusEndpoint
  /** True where unit 0 is everybody and nobody answers. */
  readonly broadcasts: boolean
  readonly roundTrips: RoundTrips
  /** Of a line whose frames carry no ids. */
  readonly #echo: LineEcho
  readonly #clock: Clock
  readonly #connections: BusConnections
  readonly #queue = new BusQueue<BusJob>()
  readonly #late = new LateAnswers()
  readonly #barrier = new WriteBarrier()
  #settings: BusSettings
  #settingsVersion = 0
  readonly #spacing: Spacing
  #cancelWake: (() => void) | undefined
  /** When what stands before the next job ends: found while the queue looks for one. */
  #clearAt = Number.POSITIVE_INFINITY
  #now = 0
  #idleWaiters: (() => void)[] = []
  #stopping: Promise<void> | undefined

  constructor(options: BusOptions) {
    const { id, endpoint, settings, createTransport, clock, random, claimConnect, onState, onEcho } = options
    this.id = id
    this.endpoint = endpoint
    this.broadcasts = endpoint.kind !== 'tcp' && endpoint.kind !== 'udp' && endpoint.kind !== 'tls'
    this.#clock = clock
    this.#settings = settings
    this.#spacing = new Spacing(this.broadcasts)
    this.#echo = new LineEcho(onEcho)
    this.#echo.set(settings.localEcho)
    this.roundTrips = new RoundTrips(byteTime(endpoint))
    this.#connections = new BusConnections({
      createTransport: () => createTransport(endpoint, this.#settings, this.#echo),
      clock,
      random,
      claimConnect,
      onState,
      predecessor: options.predecessor,
      isWanted: () => this.#queue.size > 0,
      // What was late on the line is still to come after it was opened again, over another socket to its converter too.
      onOpen: () => this.#pump(),
      onLess: () => this.#pump(),
      onFailed: (cause) => this.#failAll({ kind: 'unreachable' }, `bus ${id} cannot be opened: ${cause}`),
    })
  }

  get state(): BusState {
    return this.#connections.state
  }

  get queued(): number {
    return this.#queue.size
  }

  get inFlight(): number {
    return this.#connections.inFlight
  }

  /** Changes whenever reads may be worth joining otherwise. */
  get planVersion(): number {
    return Math.max(this.roundTrips.planVersion, this.#settingsVersion)
  }

  /** How the bus is used. */
  get settings(): BusSettings {
    return this.#settings
  }

  /** Requests that may be on the wire at once, over all connections. */
  get concurrency(): number {
    return this.broadcasts ? 1 : this.#settings.inFlight * this.#most
  }

  /** Whether the line gives back what is sent; undefined where that could not be taken for an answer. */
  get echo(): LineEcho | undefined {
    return this.broadcasts ? this.#echo : undefined
  }

  configure(settings: BusSettings): void {
    if (settings.silenceMs !== this.#settings.silenceMs) this.#settingsVersion = nextPlanVersion()
    this.#settings = settings
    this.#echo.set(settings.localEcho)
    this.#connections.shrinkTo(this.#most)
    this.#pump()
  }

  /**
   * Resolves with the answer of the unit. Rejects with {@link BusError}, never later than the deadline while it waits
   * and the time-out once sent.
   */
  submit(request: BusRequest): Promise<BusAnswer> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal(request)
      if (refusal !== undefined) {
        request.onEnd?.(refusal)
        reject(refusal)
        return
      }
      const job = new BusJob(request, resolve, reject)
      this.#connections.keepOpen()
      // Most requests of a bus that is not full find nobody waiting: they need no queue.
      if (this.#queue.size === 0 && this.#sendAtOnce(job)) return
      job.watch(this.#clock, this.#leave)
      this.#queue.add(job)
      this.#pump()
    })
  }

  /** Refuses what waits, lets what is on the wire finish until `deadlineMs` passed, then closes the connection. */
  stop(deadlineMs: number): Promise<void> {
    this.#stopping ??= this.#stop(deadlineMs)
    return this.#stopping
  }

  async #stop(deadlineMs: number): Promise<void> {
    const why = `bus ${this.id} is being closed`
    this.#cancelWake?.()
    this.#connections.retire(why)
    this.#failAll({ kind: 'stopped' }, why)
    if (this.inFlight > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(deadlineMs, resolve)
        this.#idleWaiters.push(() => {
          cancel()
          resolve()
        })
      })
    }
    await this.#connections.close()
  }

  #refusal(request: BusRequest): BusError | undefined {
    const { state } = this
    if (state.name === 'stopped') return new BusError(`bus ${this.id} is closed`, { kind: 'stopped' })
    if (request.signal?.aborted === true) {
      return new BusError('cancelled before it was queued', { kind: 'cancelled', sent: false })
    }
    if (request.deadline !== undefined && request.deadline <= this.#clock.monotonic()) {
      return new BusError('the deadline had passed before the request was queued', { kind: 'expired', sent: false })
    }
    if (this.#queue.waiting(request.kind, request.device) >= request.limit) {
      return new BusError(`${request.limit} requests of ${request.device} wait already`, {
        kind: 'overloaded',
        limit: request.limit,
      })
    }
    const isAutomatic = request.kind === 'poll' || request.kind === 'probe'
    if (state.name === 'down' && isAutomatic && this.#clock.monotonic() < state.retryAt) {
      return new BusError(`bus ${this.id} is away: ${state.cause}`, { kind: 'unreachable' })
    }
    return undefined
  }

  /** Takes a waiting job out when its deadline passes or its caller gives up. */
  readonly #leave = (job: BusJob, message: string, failure: BusFailure): void => {
    if (!this.#queue.remove(job)) return
    job.reject(new BusError(message, failure))
    this.#pump()
  }

  #pump(): void {
    this.#cancelWake?.()
    this.#cancelWake = undefined
    if (this.state.name === 'stopped') return
    while (this.#queue.size > 0) if (!this.#sendNext()) return
    if (this.inFlight === 0) this.#connections.closeWhenIdle(this.#settings.idleCloseMs)
  }

  #sendAtOnce(job: BusJob): boolean {
    if (this.state.name !== 'open' || job.request.refusal?.() !== undefined) return false
    const lane = this.#connections.free(this.#settings.inFlight)
    if (lane === undefined) return false
    this.#now = this.#clock.monotonic()
    if (!this.#isReady(job) || this.#spacing.before(job, this.#settings) > this.#now) return false
    this.#send(lane, job, this.#now)
    return true
  }

  /** Sends whoever's turn it is. False where that must wait, for a timer or for something in flight. */
  #sendNext(): boolean {
    const { state } = this
    const now = this.#clock.monotonic()
    if (state.name !== 'open') {
      if (state.name === 'down' && state.retryAt > now && !this.#queue.hasCommands()) return this.#wakeAt(state.retryAt)
      this.#connections.open(this.#settings.connectTimeoutMs, now)
      return false
    }
    const lane = this.#connections.free(this.#settings.inFlight)
    if (lane === undefined && !this.#connections.mayGrow(this.#most, now)) return false
    this.#now = now
    this.#clearAt = Number.POSITIVE_INFINITY
    const job = this.#queue.peek(now, this.#isReady)
    if (job === undefined) return this.#wakeAt(this.#clearAt)
    if (lane === undefined) {
      this.#connections.open(this.#settings.connectTimeoutMs, now)
      return false
    }
    const quietUntil = this.#spacing.before(job, this.#settings)
    // The line must stay silent for whoever's turn it is; sending somebody else first would starve it.
    if (quietUntil > now) return this.#wakeAt(quietUntil)
    this.#queue.commit(job, this.#isReady)
    const obstacle = job.obstacle(now)
    if (obstacle === undefined) this.#send(lane, job, now)
    else job.reject(obstacle)
    return true
  }

  readonly #isReady = (job: BusJob): boolean => {
    if (!this.#barrier.lets(job.unit, job.writes)) return false
    if (!this.broadcasts) return true
    const clearAt = this.#late.clearAt(job.unit, job.request.call, this.#now)
    if (clearAt <= this.#now) return true
    this.#clearAt = Math.min(this.#clearAt, clearAt)
    return false
  }

  #wakeAt(at: number): false {
    if (at !== Number.POSITIVE_INFINITY) {
      this.#cancelWake = this.#clock.after(Math.max(0, at - this.#clock.monotonic()), () => this.#pump())
    }
    return false
  }

  #send(lane: Lane, job: BusJob, startedAt: number): void {
    const transport = lane.connection.transport!
    lane.inFlight += 1
    job.tries += 1
    if (job.tries > 1) lane.again += 1
    this.#barrier.started(job.unit, job.writes)
    if (lane.isStale) {
      transport.discardInput()
      lane.isStale = false
    }
    job.wait = job.request.wait()
    transport.call(job.unit, job.request.call, this.#callOptions(transport, job, startedAt)).then(
      (answer) => this.#answered(lane, job, answer, startedAt),
      (error: unknown) => this.#refused(lane, transport, job, error, startedAt),
    )
  }

  #callOptions(transport: ModbusTransport, job: BusJob, now: number): CallOptions {
    const { timeoutMs } = job.wait
    // With ids the bytes go out at once; without, when the line is quiet.
    if (!transport.hasTransactionIds) return { timeoutMs, gate: job.gate(this.#clock) }
    const signal = job.hangUpSignal()
    job.sent(this.#clock, now)
    return signal === undefined ? { timeoutMs } : { timeoutMs, signal }
  }

  #answered(lane: Lane, job: BusJob, { values, data }: ModbusAnswer, startedAt: number): void {
    const now = this.#clock.monotonic()
    const roundTripMs = now - job.sentAt
    lane.silent = 0
    lane.hasAnswered = true
    lane.connection.proved()
    const isHeldUp = roundTripMs > job.wait.timeoutMs + HELD_UP_MS
    if (!isHeldUp && (job.unit !== 0 || !this.broadcasts)) this.roundTrips.took(roundTripMs, values)
    job.resolve({ values, data, roundTripMs, completedAt: this.#clock.now(), isHeldUp })
    this.#vacate(lane, job, now, now - startedAt)
  }

  #refused(lane: Lane, transport: ModbusTransport, job: BusJob, cause: unknown, startedAt: number): void {
    const now = this.#clock.monotonic()
    const isHungUp = cause instanceof TransportError && cause.failure.kind === 'aborted'
    const waitedMs = isHungUp ? Math.round(now - job.sentAt) : job.wait.timeoutMs
    const error = isHungUp ? new TransportError(`no answer in ${waitedMs} ms`, { kind: 'timeout' }) : cause
    this.#failed(lane, transport, job, error)
    if (this.#wasStale(lane, error) && job.mayGoAgain) this.#putBack(job)
    else job.reject(toBusError(error, waitedMs))
    this.#vacate(lane, job, now, now - startedAt)
  }

  #vacate(lane: Lane, job: BusJob, now: number, tookMs: number): void {
    this.#queue.ended(job, tookMs, now)
    lane.inFlight -= 1
    if (job.tries > 1) lane.again -= 1
    this.#barrier.ended(job.unit)
    this.#spacing.ended(job.unit, now)
    this.#connections.shrinkTo(this.#most)
    if (this.#idleWaiters.length > 0 && this.inFlight === 0) for (const wake of this.#idleWaiters.splice(0)) wake()
    this.#pump()
  }

  /** Connections that may be open at once: more than one only where each answer names its request. */
  get #most(): number {
    return this.endpoint.kind === 'tcp' || this.endpoint.kind === 'tls' ? this.#settings.connections : 1
  }

  /** A connection that was good and breaks may have been closed before the request got there, as many devices do at will. */
  #wasStale(lane: Lane, error: unknown): boolean {
    const isLost = error instanceof TransportError && error.failure.kind === 'lost'
    return isLost && lane.hasAnswered && this.state.name !== 'stopped'
  }

  #putBack(job: BusJob): void {
    job.release()
    job.watch(this.#clock, this.#leave)
    this.#queue.putBack(job)
  }

  #failed(lane: Lane, transport: ModbusTransport, job: BusJob, error: unknown): void {
    const kind = error instanceof TransportError ? error.failure.kind : 'protocol'
    const { timeoutMs, enoughMs = timeoutMs, answersWithinMs = 0 } = job.wait
    if (kind === 'lost') this.#expectLate(job, enoughMs)
    if (kind === 'not_sent' || kind === 'lost') return
    lane.connection.proved()
    if (kind === 'exception') {
      lane.silent = 0
      lane.hasAnswered = true
      return
    }
    lane.isStale = true
    this.#expectLate(job, answersWithinMs)
    if (kind !== 'timeout') return
    lane.silent += 1
    if (lane.silent >= REOPEN_AFTER && lane.inFlight === 1) {
      // A peer that vanished without a word keeps the socket open for many minutes.
      lane.silent = 0
      lane.connection.abandon(transport)
    }
  }

  /**
   * The true answer may still be on its way, up to `withinMs` after the request: after silence and nonsense, and after a
   * connection broke, as converters hand it to whoever is connected then.
   */
  #expectLate(job: BusJob, withinMs: number): void {
    const until = Math.max(this.#clock.monotonic(), job.sentAt + withinMs)
    this.#late.expect(job.unit, job.request.call, until + this.#settings.lateGraceMs)
  }

  #failAll(failure: BusFailure, message: string): void {
    for (const job of this.#queue.drain()) job.reject(new BusError(message, failure))
  }
}
