import type { Config } from '../config/config.js'
import { withoutSourceMaps } from '../config/typescript-loader.js'
import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import { useTopicPrefix } from '../router/topic-prefix.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { Supervisor } from '../workers/supervisor.js'
import type { TakeLine } from '../workers/worker-lines.js'
import { loadDispatcher, loadPlant } from './application.js'
import type { Product } from './assembly.js'
import { Closers } from './closers.js'
import type { App } from './create-app.js'
import { Crew } from './crew.js'
import type { ReportFacts } from './report.js'
import { type RunFile, readRunFile } from './run-file.js'

export interface GatewayOptions {
  readonly app: App
  readonly config: Config
  readonly warnings: readonly string[]
  readonly logger: Logger
  /** Takes the lines that workers write; absent: they write to standard output themselves. */
  readonly onLine?: TakeLine
  /** Only where traces are made. */
  readonly tracing?: Tracing | undefined
  readonly clock: Clock
  /** Something that ends the whole product. */
  readonly onFatal: (error: Error) => void
}

/** The gateway process: owns buses, tables, spools and the sidecar, and supervises the workers. */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #closers = new Closers()
  readonly #startedAt: number
  #product: Product | undefined
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  /** The generation in force. */
  #config: Config
  #crew: Crew | undefined
  /** Worker processes, and the slots shared routes are dealt over, as they were before the change of generation under way. */
  #crewBefore: { readonly slots: number; readonly pids: ReadonlyMap<string, number | undefined> } | undefined

  constructor(options: GatewayOptions) {
    this.#options = options
    this.#config = options.config
    this.#startedAt = options.clock.monotonic()
  }

  /** Facts for the start-up report; after `start()`. */
  get report(): ReportFacts {
    return this.#started.report
  }

  /** What stands in run.json; after `start()`. */
  get running(): RunFile {
    return this.#started.running
  }

  get ready(): boolean {
    return this.#stopping === undefined && (this.#product?.isReady() ?? false)
  }

  /** Starts everything, or ends what it started and throws. */
  start(): Promise<void> {
    this.#starting ??= this.#start().catch(async (error: unknown) => {
      await this.#closers.closeAll(this.#options.logger)
      throw error
    })
    return this.#starting
  }

  /** Ends everything in the reverse order of its start. A start that is under way is let finish first, so that nothing of it is left. */
  stop(): Promise<void> {
    this.#stopping ??= (this.#starting ?? Promise.resolve())
      .catch(() => {})
      .then(() => this.#closers.closeAll(this.#options.logger))
    return this.#stopping
  }

  /**
   * Takes the next generation of the configuration; resolves when it holds everywhere. Where it rejects, some parts may have
   * it already: {@link takeBack}.
   */
  async apply(config: Config, restartWorkers: boolean): Promise<void> {
    await this.start()
    if (this.#stopping !== undefined) return
    const before = this.#config
    const supervisor = this.#crew?.supervisor
    this.#crewBefore = supervisor && { slots: supervisor.slots, pids: pidsOf(supervisor) }
    this.#config = config
    await this.#started.applyLive(config)
    // Without worker processes nothing is left to workers; what would be, waits for the next start.
    if (!restartWorkers || supervisor === undefined) return
    const deadlineMs = config.app.shutdownMs
    if (config.workers.slots !== before.workers.slots) await supervisor.scale(config.workers.slots, deadlineMs)
    await supervisor.restart(undefined, deadlineMs)
  }

  /** Goes back to a generation that was in force before one that not all parts could take; workers that kept it stay. */
  async takeBack(config: Config): Promise<void> {
    if (this.#stopping !== undefined || this.#product === undefined) return
    this.#config = config
    await this.#product.applyLive(config)
    const supervisor = this.#crew?.supervisor
    const before = this.#crewBefore
    if (supervisor === undefined || before === undefined) return
    const deadlineMs = config.app.shutdownMs
    if (supervisor.slots !== before.slots) await supervisor.scale(before.slots, deadlineMs)
    for (const [name, pid] of pidsOf(supervisor)) {
      if (pid !== before.pids.get(name)) await supervisor.restart(name, deadlineMs)
    }
  }

  /** Resolves when the entry is durable. */
  async audit(entry: AuditInput): Promise<void> {
    await this.start()
    await this.#started.audit(entry)
  }

  async #start(): Promise<void> {
    const { app, config, warnings, logger, onLine, tracing, clock, onFatal } = this.#options
    this.#refuseSecond()
    useTopicPrefix(config.modbus.topicPrefix)
    // Mistakes in the application end the start before anything listens or connects.
    const [dispatcher, file] = await Promise.all([loadDispatcher(app, {}), loadPlant(app)])
    const crew = new Crew({ app, config: () => this.#config, dispatcher, logger, onLine, tracing, clock, onFatal })
    crew.fork()
    // A start that fails must not leave them behind.
    this.#closers.add('workers', () => crew.stop(config.app.shutdownMs))
    this.#crew = crew
    // Workers come up while the parts of this process are loaded.
    const { assemble } = await withoutSourceMaps(() => import('./assembly.js'))
    this.#product = await assemble({
      app,
      config,
      inForce: () => this.#config,
      warnings,
      dispatcher,
      file,
      crew,
      closers: this.#closers,
      startedAt: this.#startedAt,
      isStopping: () => this.#stopping !== undefined,
      tracing,
      logger,
      clock,
      onFatal,
    })
  }

  get #started(): Product {
    if (this.#product === undefined) throw new RouteMQError('NOT_RUNNING', 'the gateway has not started')
    return this.#product
  }

  #refuseSecond(): void {
    const other = readRunFile(this.#options.config.app.runDir)
    if (other === undefined || other.pid === process.pid) return
    throw new RouteMQError('ALREADY_RUNNING', `process ${other.pid} runs this application since ${other.started_at}`, {
      details: { pid: other.pid },
    })
  }
}

function pidsOf(supervisor: Supervisor): ReadonlyMap<string, number | undefined> {
  return new Map(supervisor.reports().map(({ name, pid }) => [name, pid]))
}
