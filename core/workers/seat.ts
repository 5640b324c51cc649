import type { ClaimOutcome, StoredMessage } from '../delivery/delivery-store.js'
import type { DrainOutcome } from '../mqtt/drain-session.js'
import { Backoff } from '../support/backoff.js'
import { fromErrorShape } from '../support/errors.js'
import { Awaited } from './awaited.js'
import { type WorkerRole, type WorkerStats, workerName } from './protocol.js'
import type { Credentials, SeatOptions, SeatSurroundings } from './seat-options.js'
import type { HeldSession } from './session-book.js'
import { VitalSigns } from './vital-signs.js'
import { WorkerCalls } from './worker-calls.js'
import { WorkerProcess } from './worker-process.js'
import type { WorkerReport, WorkerState } from './worker-report.js'

/** A slot that is down for so long has its session drained by another. */
const LOST_AFTER_MS = 5_000
const BOOT_LIMIT_MS = 60_000
/** What a worker over its memory limit is given to finish what it has. */
const REPLACE_LIMIT_MS = 10_000

/** One place for a worker process; the process in it may change. */
export class Seat {
  readonly name: string
  readonly role: WorkerRole
  readonly #surroundings: SeatSurroundings
  readonly #options: SeatOptions
  readonly #bootBackoff = new Backoff({ first: 500, max: 30_000 })
  #calls: WorkerCalls | undefined
  #signs: VitalSigns | undefined
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
  #child: WorkerProcess | undefined
  #stats: WorkerStats | undefined
  #restarts = 0
  /** The process that is here now has run messages. */
  #ran = false
  /** It has asked to be replaced. */
  #outgrown = false
  #dealtOver: number | undefined
  #cancelRetry: (() => void) | undefined

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

  /**
   * Resolves when this try has ended: ready, or dead and waiting for the next; or when it has loaded and is still not ready
   * after `connectLimitMs`, because its broker is away. It goes on waiting for that.
   */
  start(connectLimitMs?: number): Promise<void> {
    if (this.#closed) return Promise.resolve()
    const { clock, logger, assignment, bootLimitMs = BOOT_LIMIT_MS } = this.#options
    this.#become({ name: 'starting', since: clock.monotonic() })
    this.#ran = false
    return new Promise((resolve) => {
      let failure = 'it exited before it was ready'
      let bootLimit = () => {}
      let connectLimit = () => {}
      const child: WorkerProcess = new WorkerProcess(this.name, this.#options, {
        onMessage: (message) => {
          signs.heard()
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
                child.send({ type: 'assign', assignment: ready })
              })
            case 'loaded':
              bootLimit()
              this.#connecting = true
              if (connectLimitMs !== undefined) connectLimit = clock.after(connectLimitMs, resolve)
              signs.watch()
              return void this.#surroundings.sessionsReturned().then(() => child.send({ type: 'connect' }))
            case 'ready':
              connectLimit()
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
              if (message.method === 'watch.begin') this.#ran = true
              return void calls.serve(message)
            case 'cancel':
              return calls.cancel(message.id)
            case 'stats':
              this.#stats = message.stats
              this.#options.book.aged(message.stats.ages)
              return signs.weighed(message.stats.memoryMb)
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
        },
        onError: (error) => {
          failure = error.message
        },
        onEnd: (code, signal) => {
          bootLimit()
          connectLimit()
          this.#onExit(child, failure, code, signal)
        },
      })
      this.#child = child
      const calls = new WorkerCalls(
        () => this.#options.services(this.name),
        (answer) => child.send(answer),
      )
      this.#calls = calls
      const signs = this.#signsOf(child)
      this.#signs = signs
      const limitBoot = () =>
        clock.after(bootLimitMs, () => {
          failure = `it did not load within ${bootLimitMs / 1000} s`
          child.kill()
        })
      bootLimit = limitBoot()
      void child.gone.then(resolve)
    })
  }

  /** Drains and ends a session that nobody opens. */
  adopt(session: HeldSession): Promise<DrainOutcome> {
    const child = this.#child
    if (child === undefined) return Promise.resolve(this.#adoptions.lost)
    return this.#adoptions.for(session.clientId, () => child.send({ type: 'adopt', session }))
  }

  /** Ends an adoption because the owner is back. */
  letGo(clientId: string): void {
    this.#child?.send({ type: 'let_go', clientId })
  }

  /** For its next connections to the broker and to the database. */
  useCredentials({ username, password, database }: Credentials): void {
    this.#child?.send({ type: 'credentials', username, password, database })
  }

  /** Finishes parked messages that nobody else does. */
  takeOver(): void {
    this.#child?.send({ type: 'take_over' })
  }

  /** Runs one kept message in this worker. */
  run(message: StoredMessage, force: boolean): Promise<ClaimOutcome> {
    const child = this.#child
    if (child === undefined) return Promise.resolve(this.#runs.lost)
    const id = this.#nextRun++
    return this.#runs.for(id, () => child.send({ type: 'run', id, message, force }))
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
      child.send({ type: 'stop', how, deadlineMs })
      const insist = this.#options.clock.after(deadlineMs + 1_000, () => {
        this.#options.logger.warn({ worker: this.name, pid: child.pid }, 'worker did not stop in time, killing it')
        child.kill()
      })
      await child.gone
      insist()
    }
    this.#become({ name: 'stopped' })
  }

  #onExit(child: WorkerProcess, failure: string, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#connecting = false
    this.#signs?.stop()
    this.#stats = undefined
    this.#calls?.lose(this.name)
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

  #signsOf(child: WorkerProcess): VitalSigns {
    const { clock, stallMs, memoryLimitMb, logger } = this.#options
    return new VitalSigns({
      stallMs,
      memoryLimitMb,
      clock,
      onStall: () => {
        logger.error({ worker: this.name, pid: child.pid, silent_ms: stallMs }, 'worker does not turn, killing it')
        child.kill()
      },
      onOutgrown: (memoryMb) => this.#replaceOutgrown(memoryMb),
    })
  }

  #replaceOutgrown(memoryMb: number): void {
    const { logger, memoryLimitMb } = this.#options
    if (this.#outgrown || this.#state.name !== 'ready') return
    logger.warn({ worker: this.name, memoryMb, limit: memoryLimitMb }, 'worker over its memory limit, replacing it')
    this.#outgrown = true
    this.#surroundings
      .replace(REPLACE_LIMIT_MS)
      .catch((error: unknown) => logger.warn({ worker: this.name, err: error }, 'worker not replaced'))
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
