import type { MqttConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import { Connection } from './connection.js'

export interface SessionToEnd {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  readonly logger: Logger
}

/** On 3.1.1 a session ends when its client connects with clean session and goes (3.1.1, 3.1.2.4). */
export async function endSessionOf311({ config, url, clientId, logger }: SessionToEnd): Promise<void> {
  try {
    const last = await Connection.open({ config, url, clientId, protocol: 4, clean: true, sessionExpirySeconds: 0 })
    await last.end()
  } catch (error) {
    logger.warn(
      { error, clientId },
      'an empty session could not be ended; it stays at the broker without subscriptions',
    )
  }
}
