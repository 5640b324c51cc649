import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from '../config/config.js'
import { DeathBook } from '../delivery/death-book.js'
import { DeathFile } from '../delivery/death-file.js'
import type { FieldPort } from '../modbus/field.js'
import { planSubscriptions } from '../mqtt/subscription-planner.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import type { Dispatcher } from '../router/route.js'
import type { Clock } from '../support/clock.js'
import { adoptOrphans } from '../workers/orphans.js'
import { type WorkerRole, workerName } from '../workers/protocol.js'
import { RouteWorker, servedBy } from '../workers/route-worker.js'
import { SessionBook } from '../workers/session-book.js'
import { Supervisor, type WorkerReport } from '../workers/supervisor.js'
import type { TakeLine } from '../workers/worker-lines.js'
import { loadDispatcher } from './application.js'
import type { App } from './create-app.js'
import { liveCredentials } from './live-credentials.js'
import type { Storage } from './storage.js'

export interface CrewOptions {
  readonly app: App
  /** The generation in force. */
  readonly config: () => Config
  readonly dispatcher: Dispatcher
  readonly logger: Logger
  readonly onLine: TakeLine | undefined
  /** Only where traces are made. */
  readonly tracing: Tracing | undefined
  readonly clock: Clock
  readonly onFatal: (error: Error) => void
}

/** What route code stands on. */
export interface Backing {
  readonly storage: Storage
  readonly field: FieldPort
  readonly brokerUrl: string
}

/** Those who run route code: worker processes, or with `--workers 0` this process. */
export class Crew {
  readonly #options: CrewOptions
  readonly #backing = deferred<Backing>()
  /** Undefined with `--workers 0`. */
  readonly supervisor: Supervisor | undefined
  #forked: Promise<void> | undefined
  #local: RouteWorker | undefined
  readonly #deaths: DeathBook

  constructor(options: CrewOptions) {
    this.#options = options
    const { dataDir } = options.config().app
    this.#deaths = new DeathBook(new DeathFile(join(dataDir, 'suspects.json'), options.logger))
    this.supervisor = options.config().workers.slots === 0 ? undefined : this.#supervisor()
  }

  /** Processes take longest to come up, so they are forked before all else; they get their assignment when the rest is there. */
  fork(): void {
    const { config, dispatcher } = this.#options
    this.#forked = this.supervisor?.start(rolesOf(config(), dispatcher))
  }

  /** Lets route code begin; resolves when it serves. */
  async start(backing: Backing): Promise<void> {
    this.#backing.resolve(backing)
    await (this.supervisor === undefined ? this.#startLocal(backing) : this.#forked)
  }

  async stop(deadlineMs: number): Promise<void> {
    await this.supervisor?.stop(deadlineMs)
    this.#deaths.flush()
    const local = this.#local
    this.#local = undefined
    await local?.stop('keep', deadlineMs)
  }

  get ready(): boolean {
    return this.supervisor?.allReady ?? this.#local?.ready ?? false
  }

  get slots(): number {
    return this.supervisor?.slots ?? 0
  }

  /** Of processes: none with `--workers 0`. */
  reports(): WorkerReport[] {
    return this.supervisor?.reports() ?? []
  }

  /** Who is not ready. */
  checks(): Record<string, string> {
    const checks = checksOf(this.reports())
    if (this.supervisor === undefined) checks[LOCAL] = this.#local?.ready === true ? 'ok' : 'not subscribed yet'
    return checks
  }

  /** Runs one stored message again, whoever has its route. */
  run: Supervisor['run'] = (message, force) =>
    this.supervisor === undefined ? this.#local!.run(message, force) : this.supervisor.run(message, force)

  /** Readings of each process, and of each of its lanes, for the metrics. */
  readings() {
    return this.#stats().map(({ name, stats, restarts }) => {
      const { lanes: _, ages: __, ...own } = stats
      return { labels: { process: name }, stats: { ...own, restarts_total: restarts } }
    })
  }

  laneReadings() {
    return this.#stats().flatMap(({ name, stats }) =>
      stats.lanes.map((lane) => ({ labels: { process: name, lane: String(lane.name) }, stats: lane })),
    )
  }

  #stats() {
    const remote = this.reports().flatMap(({ name, stats, restarts }) =>
      stats === undefined ? [] : [{ name, stats, restarts }],
    )
    return this.#local === undefined ? remote : [...remote, { name: 'all', stats: this.#local.stats(), restarts: 0 }]
  }

  #supervisor(): Supervisor {
    const { config, dispatcher, logger, onLine, clock, onFatal } = this.#options
    const book = this.#sessionBook()
    const deaths = this.#deaths
    const [entry, execArgv] = workerProgram()
    const backing = () => this.#backing.value
    return new Supervisor({
      entry,
      execArgv,
      args: [],
      // Calls and losses come after the assignment, which waits for the backing.
      services: (worker) => ({
        ...backing()!.storage.servicesFor(worker, backing()!.field),
        watch: deaths.forWorker(worker),
      }),
      onLost: (worker, { died }) => {
        deaths.lost(worker, died)
        backing()?.storage.workerLost(worker)
      },
      assignment: async (role, slots) => {
        const { storage, brokerUrl } = await this.#backing.promise
        return { role, config: config(), brokerUrl, durableStore: storage.durable, slots, held: book.all() }
      },
      slots: config().workers.slots,
      filters: (role, slots) => filtersOf(dispatcher, config().mqtt.groupName, role, slots),
      book,
      memoryLimitMb: config().workers.memoryLimitMb,
      stallMs: config().workers.stallMs,
      onLine,
      logger,
      clock,
      onFatal,
    })
  }

  /** The same program that a worker process is, in this one. */
  async #startLocal({ storage, field, brokerUrl }: Backing): Promise<void> {
    const { app, config, tracing, logger, clock, onFatal } = this.#options
    const book = this.#sessionBook()
    const worker = await RouteWorker.forApplication({
      role: { kind: 'all' },
      config: { ...config(), mqtt: liveCredentials(config().mqtt, () => config().mqtt) },
      brokerUrl,
      services: storage.servicesFor(LOCAL, field),
      db: () => storage.appTables,
      slots: 0,
      held: book.all(),
      load: (handed, around) => loadDispatcher(app, handed, around),
      tracing,
      logger: logger.child({ worker: LOCAL }),
      clock,
      onFatal,
    })
    this.#local = worker
    try {
      await worker.start()
    } catch (error) {
      // Told to stop before the broker was there: that is no failure.
      if (this.#local !== worker) return
      onFatal(error as Error)
      throw error
    }
    book.hold(worker.sessions)
    setInterval(() => book.aged(worker.ages()), 1_000).unref()
    void adoptOrphans({ worker, book, logger, clock, lives: () => this.#local === worker })
  }

  #sessionBook(): SessionBook {
    return SessionBook.open(join(this.#options.config().app.dataDir, 'sessions.json'), this.#options.logger)
  }
}

/** States, no reasons: strangers are shown them, and what failed may name files and addresses. `/health` says why. */
export function checksOf(reports: readonly Pick<WorkerReport, 'name' | 'state' | 'reason'>[]): Record<string, string> {
  return Object.fromEntries(reports.map(({ name, state }) => [name, state === 'ready' ? 'ok' : state]))
}

const LOCAL = workerName({ kind: 'all' })

function rolesOf(config: Config, dispatcher: Dispatcher): WorkerRole[] {
  const slots: WorkerRole[] = Array.from({ length: config.workers.slots }, (_, index) => ({
    kind: 'slot',
    slot: index + 1,
  }))
  // Without plain or ordered routes there is nothing for a solo worker to do.
  const needsSolo = dispatcher.routes.some(({ shared, orderBy }) => !shared || orderBy !== undefined)
  return needsSolo ? [{ kind: 'solo' }, ...slots] : slots
}

function filtersOf(dispatcher: Dispatcher, groupName: string, role: WorkerRole, slots: number) {
  const plan = planSubscriptions(dispatcher.routes, { groupName, slots, subscriptionIdentifiers: true })
  const own = plan.filter((one) => servedBy(one, role))
  const alone = own.filter((one) => one.slots === 'solo' || one.slots.length === 1)
  return { all: own.map(({ filter }) => filter), alone: alone.map(({ filter }) => filter) }
}

/** The worker's module beside this one, and the flags this process itself was started with (`--import tsx` from source). */
function workerProgram(): [entry: string, execArgv: readonly string[]] {
  const compiled = fileURLToPath(new URL('./worker-main.js', import.meta.url))
  const source = fileURLToPath(new URL('./worker-main.ts', import.meta.url))
  return [existsSync(source) ? source : compiled, process.execArgv]
}

interface Deferred<T> {
  readonly promise: Promise<T>
  readonly value: T | undefined
  resolve(value: T): void
}

function deferred<T>(): Deferred<T> {
  let settle: (value: T) => void = () => {}
  let value: T | undefined
  const promise = new Promise<T>((resolve) => {
    settle = resolve
  })
  return {
    promise,
    get value() {
      return value
    },
    resolve(given) {
      value = given
      settle(given)
    },
  }
}
