import { randomBytes } from 'node:crypto'
import { loadConfig } from '../config/load-config.js'
import { Connection, ProtocolRefused } from '../mqtt/connection.js'
import { RouteMQError } from '../support/errors.js'
import type { CliContext } from './context.js'
import { RunningProduct } from './running-product.js'

/**
 * A connection to the broker of the running product, else to the configured one, as a client of its own.
 *
 * @throws NOT_RUNNING where the broker is the embedded one and nothing runs; BROKER_UNAVAILABLE.
 */
export async function openBroker({ root, env }: CliContext): Promise<Connection> {
  const { config } = loadConfig({ root, env, keepInstance: false })
  const url = RunningProduct.find(root)?.run.broker.url ?? config.mqtt.url
  if (url === undefined) {
    throw new RouteMQError('NOT_RUNNING', 'The broker is the embedded one, and the product does not run.')
  }
  const request = {
    config: config.mqtt,
    url,
    clientId: `${config.mqtt.clientId}-cli-${randomBytes(4).toString('hex')}`,
    clean: true,
    sessionExpirySeconds: 0,
  }
  if (config.mqtt.protocol !== 'auto') return Connection.open({ ...request, protocol: config.mqtt.protocol })
  try {
    return await Connection.open({ ...request, protocol: 5 })
  } catch (error) {
    if (!(error instanceof ProtocolRefused)) throw error
    return Connection.open({ ...request, protocol: 4 })
  }
}
