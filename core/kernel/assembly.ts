import { dirname, join } from 'node:path'
import type { Config } from '../config/config.js'
import type { AuditInput } from '../database/repositories/log-repositories.js'
import { busIdOf } from '../modbus/endpoint.js'
import type { VirtualDevice } from '../modbus/server/virtual-device.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import { Poller } from '../poller/poller.js'
import type { Dispatcher } from '../router/route.js'
import type { Clock } from '../support/clock.js'
import { tracedField } from '../workers/traced.js'
import { loadProfiles } from './application.js'
import { openBroker, openRetained, startLink } from './broker-side.js'
import type { Closers } from './closers.js'
import type { App, PlantDefinition } from './create-app.js'
import type { Crew } from './crew.js'
import { placeVirtual, startDemoPlant } from './demo-plant.js'
import { startField } from './field-side.js'
import { openSidecar, startMetrics } from './http-side.js'
import { LastKnown } from './last-known.js'
import { LiveFeed } from './live-feed.js'
import { Plant } from './plant.js'
import { changeEntry } from './records.js'
import type { ReportFacts } from './report.js'
import { reportFacts } from './report-facts.js'
import { keepRunFile, type RunFile } from './run-file.js'
import { Storage } from './storage.js'
import { trialLoad } from './trial-load.js'
import { productVersion } from './version.js'
import { readVirtualPlant, startVirtualPlant } from './virtual-plant.js'

/** What the gateway has when it begins to put the product together. */
export interface AssemblyOptions {
  readonly app: App
  /** The generation at the start; what changes live comes through {@link Product.applyLive}. */
  readonly config: Config
  /** The generation in force. */
  readonly inForce: () => Config
  readonly warnings: readonly string[]
  readonly dispatcher: Dispatcher
  readonly file: PlantDefinition
  readonly crew: Crew
  /** Takes the end of each part as soon as it has begun. */
  readonly closers: Closers
  readonly startedAt: number
  readonly isStopping: () => boolean
  /** Only where traces are made. */
  readonly tracing: Tracing | undefined
  readonly logger: Logger
  readonly clock: Clock
  readonly onFatal: (error: Error) => void
}

/** The product, put together and running. */
export interface Product {
  readonly running: RunFile
  readonly report: ReportFacts
  readonly isReady: () => boolean
  readonly applyLive: (config: Config) => Promise<void>
  readonly audit: (entry: AuditInput) => Promise<void>
}

/** How long the start waits for workers before it reports them as they are. */
const REPORT_AFTER_MS = 15_000

/** Starts every part and wires them together: from what all stand on, the broker and the store, to what shows them. */
export async function assemble(options: AssemblyOptions): Promise<Product> {
  const { app, config, inForce, file, crew, closers, tracing, logger, clock } = options
  const virtualFolder = join(app.root, dirname(app.devices), 'virtual')
  // A mistake in a file ends the start before anything is opened.
  await readVirtualPlant(virtualFolder)
  const [broker, virtual] = await Promise.all([openBroker(options), openVirtual(options)])
  const brokerUrl = broker.url
  const storage = await Storage.open({ app, config, logger, clock, tracing })
  closers.add('storage', () => storage.close())

  const live = new LiveFeed()
  const { field, leases } = await startField(options, storage, live, (buses) => poller.tookOver(buses))
  const retained = await openRetained(options, brokerUrl)
  closers.add('retained topics', () => retained.stop())
  const link = await startLink(options, broker, storage)

  const slaves = await startVirtualPlant({
    folder: virtualFolder,
    dataDir: config.app.dataDir,
    topicPrefix: config.modbus.topicPrefix,
    publish: (topic, payload, how) => link.publish(topic, payload, how),
    logger,
    clock,
  })
  closers.add('virtual devices', () => slaves.close())

  const poller = new Poller({
    field: field.polling,
    publisher: link,
    sink: live.before(storage.ingest),
    triggers: storage.triggers,
    retained,
    // While the database is away the application's file stands in for devices that nobody knows.
    isComplete: () => config.database.kind === 'none' || plant.source === 'database',
    onChange: (change) => storage.event(changeEntry(change)),
    isLeader: (bus) => leases.holder(bus).mine,
    config: config.poller,
    topicPrefix: config.modbus.topicPrefix,
    logger,
    clock,
  })
  const plant = new Plant({
    file,
    tables: () => storage.plantTables(),
    apply: (devices, targets) => {
      leases.want(devices.filter(({ is_active }) => is_active).map(busIdOf))
      field.apply(devices)
      poller.apply(targets, devices)
    },
    audit: (entry) => storage.audit(entry),
    profiles: () => loadProfiles(app),
    gateways: () => field.gateways().map((gateway) => ({ ...gateway })),
    loads: () => poller.status().buses,
    checkLoad: (target, how) => void poller.checkTarget(target, how),
    checkLoads: (after, changed) =>
      trialLoad({
        config: { modbus: config.modbus, poller: inForce().poller },
        relocate: placeVirtual(virtual),
        running: { field: field.polling, devices: () => plant.records },
      })(after, changed),
    relocate: placeVirtual(virtual),
    logger,
    clock,
  })
  await plant.start()
  const lastKnown = new LastKnown({
    file: join(config.app.dataDir, 'last-known.json'),
    cache: field.cache,
    spaceOf: (deviceId) => field.spaceOf(deviceId),
    logger,
    clock,
  })
  await lastKnown.start()
  closers.add('last known values', () => lastKnown.stop())
  closers.add('plant', async () => plant.stop())
  poller.start()
  closers.add('poller', () => poller.stop())

  // Polls are no traces: they are asked for by nobody.
  const asked = tracing === undefined ? field : tracedField(field, tracing)
  const crewStarted = crew.start({ storage, field: asked, brokerUrl })
  // Again, now that all they stand on is there: they drain before any of it goes.
  closers.add('workers', () => crew.stop(config.app.shutdownMs))

  const isReady = () => link.state.name === 'connected' && crew.ready
  const parts = { storage, link, field, asked, leases, poller, plant, live, isReady }
  const metrics = startMetrics(options, parts)
  const http = config.http.enabled ? await openSidecar(options, parts, metrics) : undefined

  const running: RunFile = {
    pid: process.pid,
    version: productVersion(),
    mode: config.mode,
    started_at: new Date(clock.now()).toISOString(),
    broker: { url: brokerUrl, embedded: broker.embedded !== undefined },
    http: http === undefined ? null : { url: http.sidecar.url, token: http.token },
    ...(storage.address === undefined ? {} : { database: storage.address }),
    device: virtual === undefined ? null : { host: virtual.host, port: virtual.port },
  }
  const removeRunFile = keepRunFile(config.app.runDir, running, { logger, clock })
  closers.add('run file', async () => removeRunFile())

  await Promise.race([crewStarted, pause(clock, REPORT_AFTER_MS)])
  return {
    running,
    isReady,
    audit: (entry) => storage.audit(entry),
    applyLive: async (next) => {
      storage.usePassword(next)
      const { username, password } = next.mqtt
      crew.supervisor?.useCredentials({ username, password, database: next.database })
      field.writes.setSystem(next.modbus.writeEnabled)
      field.cache.ttlMs = next.poller.cacheTtlMs
      http?.sidecar.reconfigure(next)
      poller.configure(next.poller)
      poller.apply(await plant.targets.list(), plant.records)
    },
    report: await reportFacts(options, { broker, link, storage, plant, virtual, sidecar: http?.sidecar }),
  }
}

async function openVirtual({ config, closers, logger }: AssemblyOptions): Promise<VirtualDevice | undefined> {
  if (config.modbus.demoPort === undefined) return undefined
  const device = await startDemoPlant(config.modbus.demoPort, logger)
  closers.addFirst('virtual device', () => device.close())
  return device
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, { unref: true })
  })
}
