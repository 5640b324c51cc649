import { type ChildProcess, fork } from 'node:child_process'
import type { MqttConfig } from '../config/config.js'
import type { ClaimOutcome, StoredMessage } from '../delivery/delivery-store.js'
import type { DrainOutcome } from '../mqtt/drain-session.js'
import type { Logger } from '../observability/logger.js'
import { Backoff } from '../support/backoff.js'
import type { Clock } from '../support/clock.js'
import { fromErrorShape, RouteMQError, toErrorShape } from '../support/errors.js'
import { Awaited } from './awaited.js'
import {
  type ToGateway,
  type ToWorker,
  type WorkerAssignment,
  type WorkerRole,
  type WorkerStats,
  workerName,
} from './protocol.js'
import { dispatchCall, type GatewayServices } from './services.js'
import type { HeldSession, SessionBook } from './session-book.js'
import { outputFor, readLines, type TakeLine } from './worker-lines.js'
import type { WorkerReport, WorkerState } from './worker-report.js'

export type Credentials = Pick<MqttConfig, 'username' | 'password'>

/** What every seat of a supervisor is given. */
export interface SeatOptions {
  /** The module a worker process runs, and the node flags it needs to load it and the application. */
  readonly entry: string
  readonly execArgv: readonly string[]
  readonly args: readonly string[]
  /** What the gateway does for the worker of that name. */
  readonly services: (worker: string) => GatewayServices
  /** A worker process is gone, by itself (`died`) or because it was told to; what it held in the gateway is to be handed on. */
  readonly onLost: (worker: string, end: { readonly died: boolean }) => void
  /** Asked when a process is up; may wait until the gateway's own services are. */
  readonly assignment: (role: WorkerRole, slots: number) => Promise<WorkerAssignment>
  readonly book: SessionBook
  readonly memoryLimitMb: number | undefined
  /** A worker that says nothing for so long is killed; 0 never. */
  readonly stallMs: number
  /** Takes what worker processes write, line by line. @default they write to the streams of this process */
  readonly onLine?: TakeLine | undefined
  readonly logger: Logger
  readonly clock: Clock
  readonly onChange?: () => void
  /** A worker said something that must end the whole product (CLIENT_ID_IN_USE). */
  readonly onFatal: (error: RouteMQError) => void
}

/** A slot that is down for so long has its session drained by another. */
const LOST_AFTER_MS = 5_000
const LOOK_MS = 1_000
/** A process that has not loaded the application by then is stuck. */
const BOOT_LIMIT_MS = 60_000
/** What a worker over its memory limit is given to finish what it has. */
const REPLACE_LIMIT_MS = 10_000

/** What a seat asks the supervisor. */
export interface SeatSurroundings {
  readonly slots: () => number
  /** Resolves when no other worker has a session of this seat open. */
  readonly sessionsReturned: () => Promise<void>
  /** Puts a new process in this seat, after whatever change is under way. */
  readonly replace: (deadlineMs: number) => Promise<void>
}

/** One place for a worker process; the process in it may change. */
export class Seat {
  readonly name: string
  readonly role: WorkerRole
  readonly #surroundings: SeatSurroundings
  readonly #options: SeatOptions
  readonly #bootBackoff = new Backoff({ first: 500, max: 30_000 })
  #calls = new Map<number, AbortController>()
  readonly #adoptions = new Awaited<string, DrainOutcome>('kept')
  #clientIds: readonly string[] = []
  /** Monotonic; since when no process in this seat has served. */
  #downSince: number | undefined
  /** Its process is about to open its sessions, or has them open. */
  #connecting = false
  #serving = true
  readonly #runs: Awaited<number, ClaimOutcome>
  #nextRun = 1
  #closed = false
  #state: WorkerState = { name: 'stopped' }
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #stats: WorkerStats | undefined
  #restarts = 0
  /** The process that is here now has run messages. */
  #ran = false
  /** Looks in a row at which nothing had come from the process since the last. */
  #silent = 0
  #heard = false
  #overLimit = 0
  /** It has asked to be replaced. */
  #outgrown = false
  #dealtOver: number | undefined
  #cancelRetry: (() => void) | undefined
  #cancelWatch = () => {}

  constructor(role: WorkerRole, options: SeatOptions, surroundings: SeatSurroundings) {
    this.name = workerName(role)
    this.role = role
    this.#runs = new Awaited<number, ClaimOutcome>({
      ok: false,
      error: { code: 'WORKER_LOST', message: `worker ${this.name} went away before it was done` },
    })
    this.#options = options
    this.#surroundings = surroundings
  }

  /** Client ids of the lanes it last had open. */
  get clientIds(): readonly string[] {
    return this.#clientIds
  }

  /** What its process is subscribed to; nothing where none is ready. */
  get filters(): readonly string[] {
    return this.#state.name === 'ready' ? filtersOf(this.#state.sessions) : []
  }

  /** The number of slots its process was told of last. */
  get dealtOver(): number | undefined {
    return this.#dealtOver
  }

  /** It is on its way up and nobody knows yet which sessions it will open. */
  get isExpected(): boolean {
    return this.#clientIds.length === 0 && this.#state.name === 'starting'
  }

  /** It has been down for so long that others take care of its sessions. */
  get isLost(): boolean {
    if (this.#downSince === undefined || this.#connecting) return false
    return this.#options.clock.monotonic() - this.#downSince > LOST_AFTER_MS
  }

  /** It has loaded the application after a death and opens its sessions now, whichever they are. */
  get isReturning(): boolean {
    return this.#connecting && this.#state.name === 'starting'
  }

  /** Ready, and connected to the broker with all its lanes. */
  get isServing(): boolean {
    return this.#state.name === 'ready' && this.#serving
  }

  get state(): WorkerState {
    return this.#state
  }

  report(): WorkerReport {
    const state = this.#state
    return {
      name: this.name,
      pid: this.#child?.pid,
      ...(state.name === 'ready' && !this.#serving
        ? { state: 'waiting', reason: 'its lanes are not connected to the broker' }
        : { state: state.name, ...(state.name === 'waiting' ? { reason: state.reason } : {}) }),
      restarts: this.#restarts,
      uptime_seconds: state.name === 'ready' ? (this.#options.clock.monotonic() - state.since) / 1000 : 0,
      subscriptions: this.filters,
      stats: this.#stats,
    }
  }

  /** Resolves when this try has ended: ready, or dead and waiting for the next. */
  start(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    const { clock, logger, onLine, entry, execArgv, args, assignment, memoryLimitMb } = this.#options
    this.#become({ name: 'starting', since: clock.monotonic() })
    const heapFlag = memoryLimitMb === undefined ? [] : [`--max-old-space-size=${memoryLimitMb}`]
    const child = fork(entry, [...args, this.name], {
      execArgv: [...execArgv, ...heapFlag],
      // Structured clone keeps Buffers and BigInts; stdout and stderr are the gateway's: one log stream.
      serialization: 'advanced',
      stdio: ['ignore', ...outputFor(onLine), 'ipc'],
      // Signals from a terminal reach the whole group; the gateway alone decides when a worker stops.
      env: { ...process.env, ROUTEMQ_WORKER: this.name },
    })
    this.#child = child
    if (onLine !== undefined) readLines(this.name, child, onLine)
    this.#ran = false
    // Call ids start over with each process, so each process has a table of its own.
    const calls = new Map<number, AbortController>()
    this.#calls = calls
    return new Promise((resolve) => {
      let failure = 'it exited before it was ready'
      const limitBoot = () =>
        clock.after(BOOT_LIMIT_MS, () => {
          failure = `it did not load within ${BOOT_LIMIT_MS / 1000} s`
          child.kill('SIGKILL')
        })
      let bootLimit = limitBoot()
      child.on('message', (message: ToGateway) => {
        this.#heard = true
        switch (message.type) {
          case 'alive':
            return
          case 'online':
            // The assignment may wait for migrations: that is not the time this process takes.
            bootLimit()
            this.#dealtOver = this.#surroundings.slots()
            return void assignment(this.role, this.#dealtOver).then((ready) => {
              if (this.#child !== child) return
              bootLimit = limitBoot()
              this.#send(child, { type: 'assign', assignment: ready })
            })
          case 'loaded':
            bootLimit()
            this.#connecting = true
            this.#watchTurning(child)
            return void this.#surroundings.sessionsReturned().then(() => this.#send(child, { type: 'connect' }))
          case 'ready':
            this.#bootBackoff.reset()
            this.#clientIds = message.sessions.map(({ clientId }) => clientId)
            this.#downSince = undefined
            this.#serving = true
            this.#options.book.hold(message.sessions)
            this.#become({ name: 'ready', since: clock.monotonic(), sessions: message.sessions })
            logger.info({ worker: this.name, pid: child.pid }, 'worker ready')
            return resolve()
          case 'failed': {
            failure = `${message.error.code}: ${message.error.message}`
            if (message.error.code === 'CLIENT_ID_IN_USE') this.#options.onFatal(fromErrorShape(message.error))
            return
          }
          case 'call':
            return void this.#serve(child, calls, message)
          case 'cancel':
            return calls.get(message.id)?.abort(new RouteMQError('HANDLER_TIMEOUT', 'the handler gave up waiting'))
          case 'stats':
            this.#stats = message.stats
            this.#options.book.aged(message.stats.ages)
            return this.#checkMemory(message.stats)
          case 'serving':
            this.#serving = message.serving
            return this.#options.onChange?.()
          case 'left':
            return this.#options.book.ended(message.clientIds)
          case 'adopted':
            return this.#adoptions.answer(message.clientId, message.outcome)
          case 'ran':
            return this.#runs.answer(message.id, message.outcome)
          default:
            message satisfies never
        }
      })
      child.on('error', (error) => {
        failure = error.message
      })
      this.#exited = new Promise((exited) => {
        // Not `exit`: what the process said before its end may still be on the way then, and would be served after its loss.
        child.once('close', (code, signal) => {
          bootLimit()
          this.#onExit(child, failure, code, signal)
          exited()
          resolve()
        })
        // A process that could not be spawned raises `error` and may raise nothing else.
        child.once('error', () => {
          if (child.pid !== undefined) return
          bootLimit()
          this.#onExit(child, failure, null, null)
          exited()
          resolve()
        })
      })
    })
  }

  /** Drains and ends a session that nobody opens. */
  adopt(session: HeldSession): Promise<DrainOutcome> {
    const child = this.#child
    if (child === undefined) return Promise.resolve(this.#adoptions.lost)
    return this.#adoptions.for(session.clientId, () => this.#send(child, { type: 'adopt', session }))
  }

  /** Ends an adoption because the owner is back. */
  letGo(clientId: string): void {
    if (this.#child !== undefined) this.#send(this.#child, { type: 'let_go', clientId })
  }

  /** For its next connections to the broker. */
  useCredentials({ username, password }: Credentials): void {
    if (this.#child !== undefined) this.#send(this.#child, { type: 'credentials', username, password })
  }

  /** Finishes parked messages that nobody else does. */
  takeOver(): void {
    if (this.#child !== undefined) this.#send(this.#child, { type: 'take_over' })
  }

  /** Runs one kept message in this worker. */
  run(message: StoredMessage, force: boolean): Promise<ClaimOutcome> {
    const child = this.#child
    if (child === undefined) return Promise.resolve(this.#runs.lost)
    const id = this.#nextRun++
    return this.#runs.for(id, () => this.#send(child, { type: 'run', id, message, force }))
  }

  /** Stops for good: a restart that is under way does not start again. */
  close(deadlineMs: number): Promise<void> {
    this.#closed = true
    return this.stop('keep', deadlineMs)
  }

  /** Asks, waits, insists. */
  async stop(how: 'keep' | 'leave', deadlineMs: number): Promise<void> {
    this.#cancelRetry?.()
    const child = this.#child
    this.#become({ name: 'stopping', since: this.#options.clock.monotonic() })
    if (child !== undefined) {
      this.#send(child, { type: 'stop', how, deadlineMs })
      const insist = this.#options.clock.after(deadlineMs + 1_000, () => {
        this.#options.logger.warn({ worker: this.name, pid: child.pid }, 'worker did not stop in time, killing it')
        child.kill('SIGKILL')
      })
      await this.#exited
      insist()
    }
    this.#become({ name: 'stopped' })
  }

  #onExit(child: ChildProcess, failure: string, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#connecting = false
    this.#cancelWatch()
    this.#stats = undefined
    for (const call of this.#calls.values()) call.abort(new RouteMQError('WORKER_LOST', `worker ${this.name} is gone`))
    this.#calls.clear()
    this.#adoptions.lose()
    this.#runs.lose()
    const before = this.#state
    const died = before.name !== 'stopping' && before.name !== 'stopped'
    this.#options.onLost(this.name, { died })
    if (!died) return
    const how = signal === null ? `exit code ${code}` : signal
    // What was redelivered runs before every lane is subscribed, and may be what ended the process.
    const served = before.name === 'ready' || this.#ran
    this.#downSince ??= this.#options.clock.monotonic()
    // Do not restart at full speed what never started: it only hides the message.
    const retryInMs = served ? 0 : this.#bootBackoff.next()
    const reason = served ? `it died with ${how}` : `${failure} (${how})`
    this.#options.logger.error(
      { worker: this.name, retryInMs: Math.round(retryInMs) },
      `worker ${this.name}: ${reason}`,
    )
    this.#become({ name: 'waiting', since: this.#options.clock.monotonic(), retryInMs, reason })
    this.#cancelRetry = this.#options.clock.after(retryInMs, () => {
      this.#restarts += 1
      void this.start()
    })
  }

  async #serve(
    child: ChildProcess,
    calls: Map<number, AbortController>,
    call: Extract<ToGateway, { type: 'call' }>,
  ): Promise<void> {
    const abort = new AbortController()
    calls.set(call.id, abort)
    if (call.method === 'watch.begin') this.#ran = true
    try {
      const value = await dispatchCall(this.#options.services(this.name), call.method, call.args, abort.signal)
      this.#send(child, { type: 'answer', id: call.id, ok: true, value })
    } catch (error) {
      this.#send(child, { type: 'answer', id: call.id, ok: false, error: toErrorShape(error) })
    } finally {
      calls.delete(call.id)
    }
  }

  #send(child: ChildProcess, message: ToWorker): void {
    if (!child.connected) return
    child.send(message, (error) => {
      if (error !== null)
        this.#options.logger.debug({ worker: this.name, error: error.message }, 'worker is not listening')
    })
  }

  /**
   * Kills a process whose event loop stands still: its lanes would hold what they have for ever. Counts looks and not
   * time, so that a gateway that stood still itself blames nobody.
   */
  #watchTurning(child: ChildProcess): void {
    const { clock, stallMs, logger } = this.#options
    if (stallMs === 0) return
    this.#silent = this.#heard ? 0 : this.#silent + 1
    this.#heard = false
    if (this.#silent * LOOK_MS >= stallMs) {
      logger.error({ worker: this.name, pid: child.pid, silent_ms: stallMs }, 'worker does not turn, killing it')
      child.kill('SIGKILL')
      return
    }
    this.#cancelWatch = clock.after(LOOK_MS, () => this.#watchTurning(child), { unref: true })
  }

  #checkMemory(stats: WorkerStats): void {
    const limit = this.#options.memoryLimitMb
    if (limit === undefined || stats.memoryMb <= limit) {
      this.#overLimit = 0
      return
    }
    this.#overLimit += 1
    // One high reading may be garbage not yet collected; three in a row are a leak.
    if (this.#overLimit < 3 || this.#outgrown || this.#state.name !== 'ready') return
    this.#overLimit = 0
    this.#options.logger.warn(
      { worker: this.name, memoryMb: stats.memoryMb, limit },
      'worker over its memory limit, replacing it',
    )
    this.#outgrown = true
    this.#surroundings
      .replace(REPLACE_LIMIT_MS)
      .catch((error: unknown) => this.#options.logger.warn({ worker: this.name, err: error }, 'worker not replaced'))
      .finally(() => {
        this.#outgrown = false
      })
  }

  #become(state: WorkerState): void {
    this.#state = state
    this.#options.onChange?.()
  }
}

function filtersOf(sessions: readonly HeldSession[]): string[] {
  return sessions.flatMap(({ subscriptions }) => subscriptions.map(({ filter }) => filter))
}
