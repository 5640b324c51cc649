import { existsSync } from 'node:fs'
import type { Sidecar } from '../http/sidecar.js'
import { busIdOf } from '../modbus/endpoint.js'
import type { VirtualDevice } from '../modbus/server/virtual-device.js'
import { printableUrl } from '../mqtt/connect-options.js'
import type { PublishingLink } from '../mqtt/publishing-link.js'
import type { AssemblyOptions } from './assembly.js'
import type { OpenBroker } from './broker-side.js'
import type { Plant } from './plant.js'
import type { ReportFacts } from './report.js'
import type { Storage } from './storage.js'
import { productVersion } from './version.js'

interface ReportedParts {
  readonly broker: OpenBroker
  readonly link: PublishingLink
  readonly storage: Storage
  readonly plant: Plant
  readonly virtual: VirtualDevice | undefined
  readonly sidecar: Sidecar | undefined
}

/** What there is to be said of a product that was just started. */
export async function reportFacts(
  { config, warnings, dispatcher, file, crew }: AssemblyOptions,
  { broker, link, storage, plant, virtual, sidecar }: ReportedParts,
): Promise<ReportFacts> {
  return {
    name: config.app.name,
    version: productVersion(),
    mode: config.mode,
    routes: dispatcher.routes,
    workers: crew.reports(),
    broker: {
      url: printableUrl(broker.url),
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
  }
}

/** In a checkout of the product itself there is no installed binary to name. */
function commandHere(root: string): string {
  return existsSync(`${root}/core/cli/main.ts`) ? 'npm run -s routemq --' : 'npx routemq'
}
