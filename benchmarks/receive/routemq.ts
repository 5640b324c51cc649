import type { MqttConfig } from '../../core/config/config.js'
import { DeliveryEngine } from '../../core/delivery/engine.js'
import { MemoryStore } from '../../core/delivery/memory-store.js'
import { Lane } from '../../core/mqtt/lane.js'
import { planSubscriptions } from '../../core/mqtt/subscription-planner.js'
import { silentLogger } from '../../core/observability/logger.js'
import type { Middleware } from '../../core/router/context.js'
import { Router } from '../../core/router/router.js'
import { DEVICE } from './message.js'

/** The defaults of the product. */
const CONFIG: Omit<MqttConfig, 'url' | 'protocol' | 'clientId'> = {
  embedded: { port: 0, mayMove: true },
  username: undefined,
  password: undefined,
  groupName: 'bench',
  tls: { rejectUnauthorized: true },
  keepaliveSeconds: 60,
  sessionExpirySeconds: 60,
  window: { messages: 64, bytes: 8 * 1_048_576 },
  maxPacketBytes: 1_048_576,
  replyPrefixes: ['+/+/+/response', 'routemq/reply/#'],
  outboxBytes: 0,
  ackHoldMs: 2_000,
}

/** What a worker runs: a committed router, its plan of subscriptions, the delivery engine and a lane. */
export async function openRouteMQ(name: string, url: string, qos: 0 | 1, handled: () => void): Promise<void> {
  const config: MqttConfig = { ...CONFIG, url, protocol: name === 'routemq-3' ? 4 : 5, clientId: 'bench' }
  const pass: Middleware = async (_ctx, next) => next()
  const router = new Router()
  router.group({ prefix: 'bench', middleware: ['one', 'two', 'three'] }, (bench) => {
    bench.on(
      `${name}/{device_id:int}/telemetry`,
      ({ params, payload }) => {
        if (params.device_id === (payload as { device_id: number }).device_id && params.device_id === DEVICE) handled()
      },
      { qos, concurrency: 32 },
    )
  })
  const dispatcher = router.commit({ middleware: { one: () => pass, two: () => pass, three: () => pass } })
  const engine = new DeliveryEngine({
    dispatcher,
    publisher: { publish: async () => {}, call: async () => undefined },
    field: { request: () => Promise.reject(new Error('there are no devices here')) },
    store: new MemoryStore(),
    logger: silentLogger,
    config,
  })
  const subscriptions = planSubscriptions(dispatcher.routes, {
    groupName: 'bench',
    slots: 1,
    subscriptionIdentifiers: config.protocol === 5,
  })
  const lane = new Lane({
    config,
    url,
    clientId: `bench-${name}-${process.pid}`,
    name,
    subscriptions,
    window: config.window,
    onMessage: engine.intake(subscriptions),
    logger: silentLogger,
  })
  await lane.start()
}
