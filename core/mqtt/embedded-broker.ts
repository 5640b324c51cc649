import type { AddressInfo } from 'node:net'
import { createServer, type Server, type Socket } from 'node:net'
import { Aedes, type Client } from 'aedes'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { type AedesPacket, type DeliveringClient, persistenceOf } from './embedded/aedes-internals.js'
import { type SessionLimits, Sessions } from './embedded/sessions.js'
import { matches } from './topic.js'

export interface EmbeddedBrokerOptions {
  /** 0 takes a free one. */
  readonly port: number
  /** Whether a free port is taken where `port` is in use. */
  readonly mayMove: boolean
  readonly logger: Logger
  readonly clock?: Clock
  readonly limits?: Partial<SessionLimits>
}

export interface EmbeddedBrokerStats {
  readonly clients: number
  /** Sessions of connected clients and of those that may come back. */
  readonly sessions: number
  readonly groups: number
  /** Messages that wait for a client or a share group. */
  readonly queued: number
  readonly inFlight: number
  readonly published: number
  /** Messages lost because a queue was full. */
  readonly dropped: number
}

export interface EmbeddedBroker {
  readonly url: string
  readonly port: number
  /** True when `port` was taken and another one is used. */
  readonly moved: boolean
  close(): Promise<void>
  stats(): EmbeddedBrokerStats
}

const LIMITS: SessionLimits = {
  outbound: { inFlight: 64, queued: 100_000, queuedBytes: 64 * 1_048_576, socketBytes: 1_048_576 },
  group: { queued: 100_000, queuedBytes: 64 * 1_048_576 },
  redealAfterMs: 10_000,
  sessionExpiryMs: 86_400_000,
}

/**
 * An MQTT 3.1.1 broker inside this process, on 127.0.0.1 only: aedes for the protocol, retained messages and last wills,
 * own sessions for windows, bounded queues and `$share` groups. Sessions end with the process.
 *
 * @throws PORT_IN_USE when the port is taken and may not move.
 */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  const clock = options.clock ?? systemClock
  const counters = { published: 0, dropped: 0 }
  let lastDropWarning = Number.NEGATIVE_INFINITY

  const broker = new Aedes({
    // A PUBLISH waits in the emitter for its listeners; ours never wait, so this bounds nothing but the start of a burst.
    concurrency: 1_000,
    drainTimeout: 0,
    maxClientsIdLength: 65_535,
    preConnect: (client, packet, done) => {
      takeOverDelivery(client as DeliveringClient)
      // A clean start must forget before the subscriptions of this connection are made.
      if (packet.clean && packet.clientId) sessions.open(packet.clientId, true)
      done(null, true)
    },
    authorizePublish: (_client, packet, done) => {
      const reserved = packet.topic.startsWith('$')
      done(reserved ? new Error(`topics that start with "$" belong to the broker: ${packet.topic}`) : null)
    },
    authorizeSubscribe: (client, subscription, done) => {
      if (!subscription.topic.startsWith('$share/')) return done(null, subscription)
      // A restored subscription comes before the client is announced; a clean client has its session already.
      if (!client.clean) sessions.open(client.id, false)
      done(null, sessions.join(client.id, subscription.topic, subscription.qos) ? subscription : null)
    },
  })

  const sessions = new Sessions({ ...LIMITS, ...options.limits }, clock, {
    openGroup(filter, accept) {
      const wild = filter.startsWith('+') || filter.startsWith('#')
      const listener = (packet: AedesPacket, done: () => void) => {
        if (!(wild && packet.topic.startsWith('$'))) accept(asPublished(packet))
        done()
      }
      broker.subscribe(filter, listener, () => {})
      return () => broker.unsubscribe(filter, listener, () => {})
    },
    expired: (clientId) => {
      persistenceOf(broker)
        .cleanSubscriptions({ id: clientId })
        .catch((error: unknown) => options.logger.warn({ error, clientId }, 'an expired session could not be removed'))
    },
    dropped(topic) {
      counters.dropped += 1
      if (clock.monotonic() - lastDropWarning < 10_000) return
      lastDropWarning = clock.monotonic()
      options.logger.warn(
        { topic, dropped: counters.dropped },
        'the embedded broker drops messages: a queue is full because a subscriber is too slow or away',
      )
    },
  })

  /** Messages go through our sessions, which answer at once, so that a slow reader never holds back a publisher. */
  function takeOverDelivery(client: DeliveringClient): void {
    let last: number | undefined
    const fresh = (packet: AedesPacket) => {
      // One copy a client where its filters overlap: aedes calls every matching listener in one go. Retained messages
      // carry no broker id and are never repeated.
      if (!packet.brokerId || packet.brokerCounter === undefined) return true
      if (packet.brokerCounter === last) return false
      last = packet.brokerCounter
      return true
    }
    client.deliver0 = (packet, done) => {
      const kept = packet.qos > 0 && !client.clean && subscribedQos(client, packet.topic) > 0
      if (!kept && fresh(packet)) sessions.deliver(client.id, { ...asPublished(packet), qos: 0, retain: packet.retain })
      done()
    }
    client.deliverQoS = (packet, done) => {
      // Sessions that persist get theirs from the persistence below, online or not; retained messages come only here.
      if ((client.clean || packet.retain || packet.qos === 0) && fresh(packet)) {
        const qos = Math.min(packet.qos, subscribedQos(client, packet.topic)) as 0 | 1 | 2
        sessions.deliver(client.id, { ...asPublished(packet), qos, retain: packet.retain })
      }
      done()
    }
  }

  await broker.listen()
  const persistence = persistenceOf(broker)
  persistence.outgoingEnqueueCombi = async (subscriptions, packet) => {
    const widest = new Map<string, 0 | 1 | 2>()
    for (const { clientId, qos, topic } of subscriptions) {
      if (topic.startsWith('$share/')) continue
      widest.set(clientId, Math.max(qos, widest.get(clientId) ?? 0) as 0 | 1 | 2)
    }
    const published = asPublished(packet)
    for (const [clientId, qos] of widest) {
      sessions.deliver(clientId, {
        ...published,
        qos: Math.min(qos, published.qos) as 0 | 1 | 2,
        retain: false,
      })
    }
  }
  persistence.outgoingUpdate = async (client, packet) => {
    if (packet.cmd === 'pubrel' && packet.messageId !== undefined) sessions.release(client.id, packet.messageId)
  }
  persistence.outgoingClearMessageId = async (client, packet) => {
    if (packet.messageId !== undefined) sessions.acknowledge(client.id, packet.messageId)
  }

  broker.on('client', (client) => sessions.open(client.id, client.clean))
  broker.on('clientReady', (client) => sessions.attach(client.id, client.conn))
  broker.on('clientDisconnect', (client) => sessions.detach(client.id))
  broker.on('unsubscribe', (topics, client) => {
    for (const topic of topics) if (topic.startsWith('$share/')) sessions.leave(client.id, topic)
  })
  broker.on('publish', (_packet, client: Client | null) => {
    if (client !== null) counters.published += 1
  })
  const onClientError = (client: Client, error: Error) =>
    options.logger.debug({ clientId: client.id, error: error.message }, 'a client of the embedded broker failed')
  broker.on('clientError', onClientError)
  broker.on('connectionError', onClientError)

  const sockets = new Set<Socket>()
  const { server, moved } = await listen(options, (socket) => {
    socket.setNoDelay(true)
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    broker.handle(socket)
  }).catch(async (error: unknown) => {
    await new Promise<void>((resolve) => broker.close(() => resolve()))
    throw error
  })
  const port = (server.address() as AddressInfo).port

  let cancelExpiry = () => {}
  const scheduleExpiry = () => {
    cancelExpiry = clock.after(
      60_000,
      () => {
        sessions.expire()
        scheduleExpiry()
      },
      { unref: true },
    )
  }
  scheduleExpiry()

  let closing: Promise<void> | undefined
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    moved,
    stats: () => ({ clients: broker.connectedClients, ...sessions.counts, ...counters }),
    close() {
      closing ??= (async () => {
        cancelExpiry()
        const closed = new Promise<void>((resolve) => server.close(() => resolve()))
        await new Promise<void>((resolve) => broker.close(() => resolve()))
        for (const socket of sockets) socket.destroy()
        sessions.close()
        await closed
      })()
      return closing
    },
  }
}

/** The highest QoS that a matching subscription of the client was granted. */
function subscribedQos(client: DeliveringClient, topic: string): number {
  let qos = 0
  for (const [filter, subscription] of Object.entries(client.subscriptions)) {
    if (subscription.qos > qos && matches(filter, topic)) qos = subscription.qos
  }
  return qos
}

function asPublished(packet: AedesPacket): { topic: string; payload: Buffer; qos: 0 | 1 | 2 } {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
  return { topic: packet.topic, payload, qos: packet.qos as 0 | 1 | 2 }
}

async function listen(
  { port, mayMove }: EmbeddedBrokerOptions,
  onSocket: (socket: Socket) => void,
): Promise<{ server: Server; moved: boolean }> {
  try {
    return { server: await listenOn(port, onSocket), moved: false }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    if (mayMove) return { server: await listenOn(0, onSocket), moved: true }
    throw new RouteMQError('PORT_IN_USE', `port ${port} for the embedded broker is taken on 127.0.0.1`, {
      details: { port, setting: 'MQTT_PORT' },
      cause: error,
    })
  }
}

function listenOn(port: number, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(onSocket)
    server.once('error', reject)
    server.listen({ host: '127.0.0.1', port }, () => {
      server.off('error', reject)
      resolve(server)
    })
  })
}
