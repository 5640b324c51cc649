import { randomBytes } from 'node:crypto'
import { type Sidecar, startSidecar } from '../http/sidecar.js'
import type { FieldPort } from '../modbus/field.js'
import type { FieldService } from '../modbus/field-service.js'
import type { PublishingLink } from '../mqtt/publishing-link.js'
import { Metrics } from '../observability/metrics.js'
import type { Poller } from '../poller/poller.js'
import type { AssemblyOptions } from './assembly.js'
import { audited } from './audited.js'
import type { BusLeases } from './bus-leases.js'
import { busReadings, deviceReadings } from './field-readings.js'
import { healthOf } from './health.js'
import type { LiveFeed } from './live-feed.js'
import type { Plant } from './plant.js'
import { sidecarServices } from './sidecar-services.js'
import type { Storage } from './storage.js'
import { productVersion } from './version.js'

/** What the sidecar shows and steers. */
export interface ShownParts {
  readonly storage: Storage
  readonly link: PublishingLink
  readonly field: FieldService
  /** The same for requests of callers, with what else is to happen around each. */
  readonly asked: FieldPort
  readonly leases: BusLeases
  readonly poller: Poller
  readonly plant: Plant
  readonly live: LiveFeed
  readonly isReady: () => boolean
}

/** The numbers of the gateway and, merged, of its workers. */
export function startMetrics(
  { crew, closers }: AssemblyOptions,
  { storage, link, field, poller }: ShownParts,
): Metrics {
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
  return metrics
}

/** The sidecar, and the token by which the command line is let in. */
export async function openSidecar(
  options: AssemblyOptions,
  parts: ShownParts,
  metrics: Metrics,
): Promise<{ readonly sidecar: Sidecar; readonly token: string }> {
  const { app, config, inForce, dispatcher, crew, closers, isStopping, tracing, logger, clock } = options
  const { storage, link, field, asked, leases, poller, plant, live, isReady } = parts
  const token = randomBytes(32).toString('base64url')
  const sidecar = await startSidecar({
    services: audited(
      sidecarServices({
        config,
        version: productVersion(),
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
            pollerEnabled: inForce().poller.enabled,
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
  closers.add('sidecar', () => sidecar.close(config.app.shutdownMs))
  return { sidecar, token }
}
