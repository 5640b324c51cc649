import type { Clock } from '../../support/clock.js'
import { byteTime } from '../planner/wire-time.js'
import { type BusEndpoint, type ModbusAnswer, type ModbusTransport, TransportError } from '../transport/transport.js'
import type { BusState } from './bus-connection.js'
import { BusConnections, type Lane } from './bus-connections.js'
import { BusError, type BusFailure } from './bus-error.js'
import { BusJob } from './bus-job.js'
import type { BusAnswer, BusRequest, BusSettings } from './bus-request.js'
import { LateAnswers } from './late-answers.js'
import { BusQueue } from './queue.js'

export type { BusState } from './bus-connection.js'
export type { BusAnswer, BusRequest, BusSettings } from './bus-request.js'

export interface BusOptions {
  readonly id: string
  readonly endpoint: BusEndpoint
  readonly settings: BusSettings
  readonly createTransport: (endpoint: BusEndpoint, settings: BusSettings) => ModbusTransport
  readonly clock: Clock
  readonly random: () => number
  /** Milliseconds to wait before a connect, shared by all buses of a host. */
  readonly claimConnect: () => number
  readonly onState: (state: BusState) => void
}

/** Time-outs in a row, with no answer from anybody between, after which the connection is opened afresh. */
const REOPEN_AFTER = 3
/** Bytes of a request and its answer around the data, about. */
const FRAME_BYTES = 16
/** How long units take to carry out a broadcast before the next request (Serial Line V1.02, 2.4.1). */
const BROADCAST_TURNAROUND_MS = 100

/**
 * The one owner of the way to an endpoint: everything that goes to its wire goes through its queue. Nothing here knows
 * what a device or a point is.
 */
export class Bus {
  readonly id: string
  readonly endpoint: BusEndpoint
  /** True where unit 0 is everybody and nobody answers. */
  readonly broadcasts: boolean
  readonly #clock: Clock
  readonly #connections: BusConnections
  readonly #queue = new BusQueue<BusJob>()
  readonly #late = new LateAnswers()
  /** By unit; an entry stays when its last request ends, there are at most 256. */
  readonly #inFlight = new Map<number, { count: number; writing: boolean }>()
  readonly #byteMs: number
  #settings: BusSettings
  #lastDone = Number.NEGATIVE_INFINITY
  #lastUnit: number | undefined
  #roundTrip: number | undefined
  #turnaround: number | undefined
  #cancelWake: (() => void) | undefined
  /** When what stands before the next job ends: found while the queue looks for one. */
  #clearAt = Number.POSITIVE_INFINITY
  #now = 0
  #idleWaiters: (() => void)[] = []
  #stopping: Promise<void> | undefined

  constructor(options: BusOptions) {
    const { id, endpoint, settings, createTransport, clock, random, claimConnect, onState } = options
    this.id = id
    this.endpoint = endpoint
    this.broadcasts = endpoint.kind !== 'tcp' && endpoint.kind !== 'udp' && endpoint.kind !== 'tls'
    this.#clock = clock
    this.#settings = settings
    this.#byteMs = byteTime(endpoint)
    this.#connections = new BusConnections({
      createTransport: () => createTransport(endpoint, this.#settings),
      clock,
      random,
      claimConnect,
      onState,
      isWanted: () => this.#queue.size > 0,
      onOpen: () => {
        // A fresh connection has no past; a line that is opened again has: what was late is still to come.
        if (!('path' in endpoint)) this.#late.clear()
        this.#pump()
      },
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

  /** Smoothed round trip of answered requests, milliseconds; undefined before the first answer. */
  get roundTripMs(): number | undefined {
    return this.#roundTrip
  }

  /** Smoothed round trip without the time the bytes take: what a unit needs to begin to answer, milliseconds. */
  get turnaroundMs(): number | undefined {
    return this.#turnaround
  }

  /** Requests that may be on the wire at once, over all connections. */
  get concurrency(): number {
    return this.broadcasts ? 1 : this.#settings.inFlight * this.#most
  }

  configure(settings: BusSettings): void {
    this.#settings = settings
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
      if (refusal !== undefined) return reject(refusal)
      const job = new BusJob(request, resolve, reject)
      if (request.deadline !== undefined || request.signal !== undefined) job.watch(this.#clock, this.#leave)
      this.#queue.add(job)
      this.#connections.keepOpen()
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
      return new BusError('the deadline had passed before the request was queued', { kind: 'expired' })
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
    const quietUntil = this.#quietUntil(job)
    // The line must stay silent for whoever's turn it is; sending somebody else first would starve it.
    if (quietUntil > now) return this.#wakeAt(quietUntil)
    this.#queue.commit(job)
    const { deadline, refusal } = job.request
    const why = refusal?.()
    if (deadline !== undefined && deadline <= now) {
      job.reject(new BusError('the deadline passed in the queue', { kind: 'expired' }))
    } else if (why !== undefined) {
      job.reject(new BusError(why, { kind: 'refused' }))
    } else {
      job.release()
      this.#send(lane, job, now)
    }
    return true
  }

  readonly #isReady = (job: BusJob): boolean => {
    // A write goes alone on its unit: nothing of the unit in flight when it starts, nothing starts before it ended.
    const busy = this.#inFlight.get(job.unit)
    if (busy !== undefined && busy.count > 0 && (busy.writing || job.writes)) return false
    if (!this.broadcasts) return true
    const clearAt = this.#late.clearAt(job.unit, job.request.call, this.#now)
    if (clearAt <= this.#now) return true
    this.#clearAt = Math.min(this.#clearAt, clearAt)
    return false
  }

  #quietUntil(job: BusJob): number {
    const { silenceMs, unitSwitchMs } = this.#settings
    const isSwitch = this.#lastUnit !== undefined && this.#lastUnit !== job.unit
    const broadcast = this.broadcasts && this.#lastUnit === 0 ? BROADCAST_TURNAROUND_MS : 0
    return this.#lastDone + Math.max(silenceMs, isSwitch ? unitSwitchMs : 0, job.request.delayMs ?? 0, broadcast)
  }

  #wakeAt(at: number): false {
    if (at !== Number.POSITIVE_INFINITY) {
      this.#cancelWake = this.#clock.after(Math.max(0, at - this.#clock.monotonic()), () => this.#pump())
    }
    return false
  }

  #send(lane: Lane, job: BusJob, sentAt: number): void {
    const transport = lane.connection.transport!
    this.#occupy(lane, job)
    if (lane.isStale) {
      transport.discardInput()
      lane.isStale = false
    }
    job.sent()
    transport.call(job.unit, job.request.call, { timeoutMs: job.timeoutAt(sentAt) }).then(
      (answer) => this.#answered(lane, job, answer, sentAt),
      (error: unknown) => this.#refused(lane, transport, job, error, sentAt),
    )
  }

  #answered(lane: Lane, job: BusJob, { values, data }: ModbusAnswer, sentAt: number): void {
    const now = this.#clock.monotonic()
    const roundTripMs = now - sentAt
    lane.silent = 0
    if (job.unit !== 0 || !this.broadcasts) {
      this.#roundTrip = smooth(this.#roundTrip, roundTripMs)
      this.#turnaround = smooth(this.#turnaround, Math.max(0, roundTripMs - this.#bytesMs(values)))
    }
    job.resolve({ values, data, roundTripMs, completedAt: this.#clock.now() })
    this.#vacate(lane, job, now, roundTripMs)
  }

  #refused(lane: Lane, transport: ModbusTransport, job: BusJob, error: unknown, sentAt: number): void {
    this.#failed(lane, transport, job, error)
    job.reject(toBusError(error))
    const now = this.#clock.monotonic()
    this.#vacate(lane, job, now, now - sentAt)
  }

  #occupy(lane: Lane, job: BusJob): void {
    lane.inFlight += 1
    const busy = this.#inFlight.get(job.unit)
    if (busy === undefined) this.#inFlight.set(job.unit, { count: 1, writing: job.writes })
    else {
      busy.count += 1
      busy.writing = job.writes
    }
  }

  #vacate(lane: Lane, job: BusJob, now: number, tookMs: number): void {
    this.#queue.ended(job, tookMs)
    lane.inFlight -= 1
    const busy = this.#inFlight.get(job.unit)!
    busy.count -= 1
    this.#lastDone = now
    this.#lastUnit = job.unit
    this.#connections.shrinkTo(this.#most)
    if (this.inFlight === 0) for (const wake of this.#idleWaiters.splice(0)) wake()
    this.#pump()
  }

  /** Connections that may be open at once: more than one only where each answer names its request. */
  get #most(): number {
    return this.endpoint.kind === 'tcp' || this.endpoint.kind === 'tls' ? this.#settings.connections : 1
  }

  /** Milliseconds the bytes of a request and its answer take on the wire. */
  #bytesMs(values: ModbusAnswer['values']): number {
    const data = typeof values[0] === 'boolean' ? values.length / 8 : values.length * 2
    return (FRAME_BYTES + data) * this.#byteMs
  }

  #failed(lane: Lane, transport: ModbusTransport, job: BusJob, error: unknown): void {
    const kind = error instanceof TransportError ? error.failure.kind : 'protocol'
    if (kind === 'exception') lane.silent = 0
    if (kind === 'exception' || kind === 'not_sent' || kind === 'lost') return
    // Time-out or nonsense: the true answer may still be on its way.
    lane.isStale = true
    this.#late.expect(job.unit, job.request.call, this.#clock.monotonic() + this.#settings.lateGraceMs)
    if (kind !== 'timeout') return
    lane.silent += 1
    if (lane.silent >= REOPEN_AFTER && lane.inFlight === 1) {
      // A peer that vanished without a word keeps the socket open for many minutes.
      lane.silent = 0
      lane.connection.abandon(transport)
    }
  }

  #failAll(failure: BusFailure, message: string): void {
    for (const job of this.#queue.drain()) job.reject(new BusError(message, failure))
  }
}

function smooth(before: number | undefined, now: number): number {
  return before === undefined ? now : before * 0.9 + now * 0.1
}

function toBusError(error: unknown): BusError {
  if (error instanceof TransportError) return new BusError(error.message, error.failure, { cause: error })
  const message = error instanceof Error ? error.message : String(error)
  return new BusError(message, { kind: 'protocol' }, { cause: error })
}
