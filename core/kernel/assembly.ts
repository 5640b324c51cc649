import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import type { Config } from '../config/config.js'
import type { AuditInput } from '../database/repositories/log-repositories.js'
import { startSidecar } from '../http/sidecar.js'
import { busIdOf } from '../modbus/endpoint.js'
import type { FieldEvent } from '../modbus/field-event.js'
import { FieldService } from '../modbus/field-service.js'
import type { VirtualDevice } from '../modbus/server/virtual-device.js'
import { printableUrl } from '../mqtt/connect-options.js'
import type { Logger } from '../observability/logger.js'
import { Metrics } from '../observability/metrics.js'
import type { Tracing } from '../observability/tracing.js'
import { Poller } from '../poller/poller.js'
import type { Dispatcher } from '../router/route.js'
import type { Clock } from '../support/clock.js'
import { tracedField } from '../workers/traced.js'
import { loadProfiles } from './application.js'
import { audited } from './audited.js'
import { openBroker, openRetained, startLink } from './broker-side.js'
import { BusLeases } from './bus-leases.js'
import { watchClock } from './clock-watch.js'
import type { Closers } from './closers.js'
import type { App, PlantDefinition } from './create-app.js'
import type { Crew } from './crew.js'
import { placeVirtual, startDemoPlant } from './demo-plant.js'
import { busReadings, deviceReadings } from './field-readings.js'
import { healthOf } from './health.js'
import { LastKnown } from './last-known.js'
import { LiveFeed } from './live-feed.js'
import { Plant } from './plant.js'
import { changeEntry, eventEntry, followsFromBus } from './records.js'
import type { ReportFacts } from './report.js'
import { keepRunFile, type RunFile } from './run-file.js'
import { sidecarServices } from './sidecar-services.js'
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
  const { app, config, warnings, dispatcher, file, crew, closers, isStopping, tracing, logger, clock } = options
  const version = productVersion()
  const deadlineMs = config.app.shutdownMs

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
  let current = config
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
        config: { modbus: config.modbus, poller: current.poller },
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
  closers.add('workers', () => crew.stop(deadlineMs))

  const isReady = () => link.state.name === 'connected' && crew.ready
  const metrics = new Metrics({ process: 'gateway' })
  closers.add('metrics', async () => metrics.stop())
  metrics.stats('modbus', () => [{ labels: {}, stats: field.metrics().modbus }])
  metrics.stats('bus', busReadings(field))
  metrics.stats('devices', deviceReadings(field))
  metrics.stats('cache', () => [{ labels: {}, stats: field.metrics().cache }])
  metrics.stats('polling', () => [{ labels: {}, stats: poller.metrics() }])
  metrics.stats('link', () => [{ labels: {}, stats: link.stats() }])
  metrics.stats('store', () => [{ labels: {}, stats: storage.stats() }])
  metrics.stats('worker', () => crew.readings())
  metrics.stats('lane', () => crew.laneReadings())
  const token = randomBytes(32).toString('base64url')
  const sidecar = config.http.enabled
    ? await startSidecar({
        services: audited(
          sidecarServices({
            config,
            version,
            db: () => storage.appTables,
            field,
            asked,
            poller,
            plant,
            routes: dispatcher.routes,
            plan: () => ({
              groupName: config.mqtt.groupName,
              slots: crew.slots,
              subscriptionIdentifiers: link.protocol === 5,
            }),
            supervisor: crew.supervisor,
            live: live.subscribe,
            prometheus: () => metrics.text(),
            observeHttp: (request) => metrics.observeHttp(request),
            health: () =>
              healthOf({
                uptimeMs: clock.monotonic() - options.startedAt,
                database: storage.database(),
                mqttConnected: link.state.name === 'connected',
                devices: field.devices(),
                standby: leases.standby(),
                buses: field.gateways(),
                pollerEnabled: current.poller.enabled,
                notStoring: storage.notStoring,
                readingsNotice: storage.readingsNotice,
                auditNotice: storage.auditNotice,
                auditRefusal: storage.auditRefusal,
                diskReason: storage.diskReason,
                workers: crew.supervisor === undefined ? undefined : crew.reports(),
              }),
            ready: () => ({
              ready: isReady() && !isStopping(),
              checks: {
                broker: link.state.name === 'connected' ? 'ok' : `the link is ${link.state.name}`,
                ...crew.checks(),
                ...(isStopping() ? { shutdown: 'the product is stopping' } : {}),
              },
            }),
            kept: storage.sidecarViews(crew.run),
          }),
          (entry) => storage.audit(entry),
        ),
        config: config.http,
        runToken: token,
        logger,
        clock,
        tracing,
        ...(app.http === undefined ? {} : { extend: app.http }),
      })
    : undefined
  if (sidecar !== undefined) closers.add('sidecar', () => sidecar.close(deadlineMs))

  const running: RunFile = {
    pid: process.pid,
    version,
    mode: config.mode,
    started_at: new Date(clock.now()).toISOString(),
    broker: { url: brokerUrl, embedded: broker.embedded !== undefined },
    http: sidecar === undefined ? null : { url: sidecar.url, token },
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
      current = next
      storage.usePassword(next)
      const { username, password } = next.mqtt
      crew.supervisor?.useCredentials({ username, password, database: next.database })
      field.writes.setSystem(next.modbus.writeEnabled)
      field.cache.ttlMs = next.poller.cacheTtlMs
      sidecar?.reconfigure(next)
      poller.configure(next.poller)
      poller.apply(await plant.targets.list(), plant.records)
    },
    report: {
      name: config.app.name,
      version,
      mode: config.mode,
      routes: dispatcher.routes,
      workers: crew.reports(),
      broker: {
        url: printableUrl(brokerUrl),
        embedded: broker.embedded !== undefined,
        protocol: link.protocol === 5 ? '5' : '3.1.1',
      },
      database: storage.describe(),
      devices: plant.records
        .filter(({ is_active }) => is_active)
        .map((device) => ({ device_id: device.device_id, bus: busIdOf(device) })),
      // The first that the application's author named, while there is still such a device.
      example: [...file.devices, ...plant.records].find(({ device_id }) =>
        plant.records.some((known) => known.device_id === device_id && known.is_active),
      )?.device_id,
      topicPrefix: config.modbus.topicPrefix,
      targets: (await plant.targets.list({ activeOnly: true })).length,
      virtualDevice: virtual === undefined ? undefined : `${virtual.host}:${virtual.port}`,
      http: sidecar?.url,
      moved: [
        ...(broker.embedded?.moved === true
          ? [{ what: 'embedded broker', from: config.mqtt.embedded.port, to: broker.embedded.port }]
          : []),
        ...(virtual !== undefined && virtual.port !== config.modbus.demoPort?.port
          ? [{ what: 'virtual device', from: config.modbus.demoPort!.port, to: virtual.port }]
          : []),
        ...(sidecar?.moved === true ? [{ what: 'sidecar', from: config.http.port, to: sidecar.port }] : []),
      ],
      warnings: [...warnings, ...storage.warnings, ...plant.warnings],
      command: commandHere(config.app.root),
      startMs: process.uptime() * 1000,
    },
  }
}

async function openVirtual({ config, closers, logger }: AssemblyOptions): Promise<VirtualDevice | undefined> {
  if (config.modbus.demoPort === undefined) return undefined
  const device = await startDemoPlant(config.modbus.demoPort, logger)
  closers.addFirst('virtual device', () => device.close())
  return device
}

/** The buses, and who of several installations owns each. */
async function startField(
  { config, closers, logger, clock }: AssemblyOptions,
  storage: Storage,
  live: LiveFeed,
  onTaken: (buses: readonly string[]) => void,
) {
  const onEvent = (event: FieldEvent) => {
    live.state(event)
    // What follows from a bus is told with the bus, which names its devices.
    if (!followsFromBus(event)) storage.event(eventEntry(event))
  }
  const stopWatch = watchClock({
    clock,
    onStep: (ms) => {
      const message = `the clock was set ${ms > 0 ? 'forward' : 'back'} by ${Math.abs(ms) / 1_000} s`
      logger.warn({ step_ms: ms }, message)
      storage.event({ kind: 'clock.step', level: 'warn', message, details: { step_ms: ms }, at: clock.now() })
    },
  })
  closers.add('clock', async () => stopWatch())
  const leases = new BusLeases({
    book: storage.leaseBook(),
    owner: config.app.instance,
    neighboursFile: join(config.app.dataDir, 'neighbours.json'),
    // A bus of a serial line is named by its path.
    reachable: (bus) => !isAbsolute(bus) || existsSync(bus),
    onChange: ({ buses, holder, lost, shared }) => {
      if (lost) for (const bus of buses) field.release(bus)
      if (holder.mine) onTaken(buses)
      if (shared || !holder.mine)
        onEvent({ type: 'owner', buses, mine: holder.mine, owner: holder.owner, at: clock.now() })
    },
    logger,
    clock,
  })
  leases.start()
  closers.add('leases', () => leases.stop())
  const field: FieldService = new FieldService({
    config: config.modbus,
    cacheTtlMs: config.poller.cacheTtlMs,
    logger,
    clock,
    audit: storage.writeAudit,
    ownership: leases,
    onEvent,
  })
  await field.start()
  closers.add('field', () => field.stop(config.app.shutdownMs))
  return { field, leases }
}

/** In a checkout of the product itself there is no installed binary to name. */
function commandHere(root: string): string {
  return existsSync(`${root}/core/cli/main.ts`) ? 'npm run -s routemq --' : 'npx routemq'
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, { unref: true })
  })
}
