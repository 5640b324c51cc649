import { passwordOf, secretsOf } from '../config/secrets.js'
import { prepareTypeScript } from '../config/typescript-loader.js'
import { AppConnections } from '../database/app-database.js'
import { createLogger, isCollected } from '../observability/create-logger.js'
import { loadTracing } from '../observability/load-tracing.js'
import { hideValues } from '../observability/redact.js'
import type { Tracing } from '../observability/tracing.js'
import { useTopicPrefix } from '../router/topic-prefix.js'
import { systemClock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import { growHeapSlowly } from '../support/heap-growth.js'
import { GatewayCaller } from '../workers/gateway-caller.js'
import { type ToGateway, type ToWorker, type WorkerAssignment, workerName } from '../workers/protocol.js'
import { RouteWorker } from '../workers/route-worker.js'
import { remoteServices } from '../workers/services.js'
import type { HeldSession } from '../workers/session-book.js'
import { tracedServices } from '../workers/traced.js'
import { loadApp, loadDispatcher } from './application.js'
import { liveCredentials } from './live-credentials.js'
import { productVersion } from './version.js'

growHeapSlowly()

const STATS_EVERY_MS = 1_000
const ALIVE_EVERY_MS = 1_000

// A terminal sends its signals to the whole group. The gateway leads the shutdown; a worker that left on its own would
// take unacknowledged messages with it.
process.on('SIGTERM', () => {})
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})

// Without its gateway a worker has no devices and nowhere to keep anything: it goes at once, acknowledging nothing.
process.on('disconnect', () => process.exit(1))

const send = (message: ToGateway) => {
  // A gateway that has just gone is told of by 'disconnect'.
  if (process.connected) process.send?.(message, () => {})
}
const caller = new GatewayCaller(send)
let worker: RouteWorker | undefined
let tables: AppConnections | undefined
let tracing: Tracing | undefined
/** Once they have changed. */
let credentials: Extract<ToWorker, { type: 'credentials' }> | undefined
let mayConnect = () => {}

process.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'assign':
      return void start(message.assignment)
    case 'answer':
      return caller.answer(message)
    case 'stop':
      return void stop(message.how, message.deadlineMs)
    case 'take_over':
      return void worker?.takeOver()
    case 'credentials':
      credentials = message
      hideValues([message.password ?? '', passwordOf(message.database) ?? ''])
      tables?.usePassword(message.database)
      return
    case 'connect':
      return mayConnect()
    case 'let_go':
      return worker?.letGo(message.clientId)
    case 'adopt':
      return void adopt(message.session)
    case 'run':
      return void run(message)
    default:
      message satisfies never
  }
})
send({ type: 'online' })

async function start(assignment: WorkerAssignment): Promise<void> {
  const { config, role } = assignment
  hideValues(secretsOf(config))
  // The gateway, which writes the log then, gives the records their form.
  const log = isCollected(config.log) ? { ...config.log, format: 'json' as const } : config.log
  const logger = createLogger(log, { worker: workerName(role) })
  process.on('unhandledRejection', (reason) => {
    // Detached work of a handler: its message is settled, its neighbours go on.
    logger.error({ error: reason }, 'a handler left a rejection unhandled')
  })
  const fail = (error: unknown) => {
    send({ type: 'failed', error: toErrorShape(error, 'WORKER_BOOT_FAILED') })
    logger.fatal({ error: toErrorShape(error, 'WORKER_BOOT_FAILED') }, 'worker cannot work')
    // Leaves the message time to cross.
    setTimeout(() => process.exit(1), 50)
  }
  try {
    const connections = new AppConnections(config.database)
    tables = connections
    const traced = () => ({ instance: config.app.instance, name: workerName(role), version: productVersion() })
    tracing = await loadTracing(config.trace, traced, logger)
    const services = tracedServices(remoteServices(caller.call, { durableStore: assignment.durableStore }), tracing)
    useTopicPrefix(config.modbus.topicPrefix)
    await prepareTypeScript(config.app.root)
    const app = await loadApp(config.app.root)
    worker = await RouteWorker.forApplication({
      role,
      config: { ...config, mqtt: liveCredentials(config.mqtt, () => credentials ?? config.mqtt) },
      brokerUrl: assignment.brokerUrl,
      services,
      db: () => connections.db,
      slots: assignment.slots,
      held: assignment.held,
      load: (handed, around) => loadDispatcher(app, handed, around),
      tracing,
      logger,
      clock: systemClock,
      onServing: (serving) => send({ type: 'serving', serving }),
      onFatal: fail,
    })
    const allowed = new Promise<void>((resolve) => {
      mayConnect = resolve
    })
    send({ type: 'loaded' })
    setInterval(() => send({ type: 'alive' }), ALIVE_EVERY_MS).unref()
    await allowed
    await worker.start()
    send({ type: 'ready', sessions: worker.sessions })
    const tell = () => worker !== undefined && send({ type: 'stats', stats: worker.stats() })
    // At once, too: from here on the gateway knows how old what the sessions hold can be, should this process die.
    tell()
    setInterval(tell, STATS_EVERY_MS).unref()
  } catch (error) {
    fail(error)
  }
}

async function adopt(session: HeldSession): Promise<void> {
  const outcome = (await worker?.adopt(session)) ?? 'kept'
  send({ type: 'adopted', clientId: session.clientId, outcome })
}

async function run({ id, message, force }: Extract<ToWorker, { type: 'run' }>): Promise<void> {
  try {
    if (worker === undefined) throw new RouteMQError('WORKER_LOST', 'the worker has not started')
    send({ type: 'ran', id, outcome: await worker.run(message, force) })
  } catch (error) {
    send({ type: 'ran', id, outcome: { ok: false, error: toErrorShape(error) } })
  }
}

async function stop(how: 'keep' | 'leave', deadlineMs: number): Promise<void> {
  const clientIds = (await worker?.stop(how, deadlineMs)) ?? []
  await tables?.close()
  await tracing?.close()
  caller.close()
  if (clientIds.length === 0 || process.send === undefined) process.exit(0)
  // The gateway forgets these sessions once it knows; the process ends when it has been told.
  process.send({ type: 'left', clientIds } satisfies ToGateway, () => process.exit(0))
}
