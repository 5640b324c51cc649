import { join } from 'node:path'
import type { Config } from '../config/config.js'
import { type EmbeddedBroker, startEmbeddedBroker } from '../mqtt/embedded-broker.js'
import { refuseUsedClientId } from '../mqtt/presence.js'
import { PublishingLink } from '../mqtt/publishing-link.js'
import { readRetained } from '../mqtt/read-retained.js'
import { RouteMQError } from '../support/errors.js'
import { clientIdOf } from '../workers/client-id.js'
import type { AssemblyOptions } from './assembly.js'
import { liveCredentials } from './live-credentials.js'
import { RetainedFile } from './retained-file.js'
import type { Storage } from './storage.js'

export interface OpenBroker {
  readonly url: string
  /** Where no other was configured. */
  readonly embedded: EmbeddedBroker | undefined
}

/** The broker, which is this product's own where none is configured. */
export async function openBroker({ config, closers, logger, clock }: AssemblyOptions): Promise<OpenBroker> {
  if (config.mqtt.url !== undefined) return { url: config.mqtt.url, embedded: undefined }
  const embedded = await startEmbeddedBroker({ ...config.mqtt.embedded, logger, clock })
  closers.addFirst('embedded broker', () => embedded.close())
  return { url: embedded.url, embedded }
}

/** What earlier lives of this installation left retained at the broker. */
export function openRetained(options: AssemblyOptions, url: string): Promise<RetainedFile> {
  const { config, logger, clock } = options
  const question = { config: brokerConfig(options), url, clientId: gatewayId(config), clock }
  return RetainedFile.open({
    file: join(config.app.dataDir, 'retained-topics.json'),
    broker: url,
    read: (topics) => readRetained(question, topics),
    logger,
    clock,
  })
}

const gatewayId = (config: Config) => clientIdOf(config, 'gateway', 'pub')

/** With the credentials that are in force when it is used. */
function brokerConfig({ config, inForce }: AssemblyOptions): Config['mqtt'] {
  return liveCredentials(config.mqtt, () => inForce().mqtt)
}

/** The link that the gateway publishes with. */
export async function startLink(
  options: AssemblyOptions,
  broker: OpenBroker,
  storage: Storage,
): Promise<PublishingLink> {
  const { config, closers, logger, clock, onFatal } = options
  const clientId = gatewayId(config)
  // Before anything connects, workers too. Nobody else gets to an embedded broker of our own before we do.
  if (broker.embedded === undefined) {
    await refuseUsedClientId({ config: config.mqtt, url: broker.url, clientId, clock })
  }
  const link = new PublishingLink({
    config: brokerConfig(options),
    url: broker.url,
    clientId,
    status: { topic: `routemq/${clientId}/status`, online: 'online', offline: 'offline' },
    outbox: storage.outbox,
    logger,
    clock,
    onFatal,
  })
  closers.add('link', () => link.stop())
  // A broker that is away delays nothing: the link goes on trying, and what is published meanwhile is kept.
  const connected = link.start({ limitMs: 5_000, keepTrying: true }).catch((error: unknown) => {
    // A start that ends for another reason says that, and nothing of a broker.
    if (error instanceof RouteMQError && error.code === 'SHUTTING_DOWN') return
    logger.warn({ error }, 'the broker is away; trying on')
  })
  if (broker.embedded !== undefined) await connected
  return link
}
