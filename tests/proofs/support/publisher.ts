import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { connectAsync, type IClientPublishOptions, type MqttClient, UniqueMessageIdProvider } from 'mqtt'

export interface Publication {
  readonly topic: string
  readonly payload: unknown
  readonly options?: IClientPublishOptions
}

/** A publisher of its own, as a device or a back end would be: QoS 1, so many unacknowledged at a time. */
export class Publisher {
  readonly client: MqttClient
  /** Publications the broker has acknowledged. */
  acknowledged = 0

  private constructor(client: MqttClient) {
    this.client = client
  }

  static async connect(url: string, protocol: 4 | 5 = 5): Promise<Publisher> {
    const client = await connectAsync(url, {
      protocolVersion: protocol,
      clientId: `publisher-${randomUUID()}`,
      // A broker that went away is waited for; what it has not acknowledged is sent again.
      reconnectPeriod: 100,
      messageIdProvider: new UniqueMessageIdProvider(),
    })
    client.on('error', () => {})
    return new Publisher(client)
  }

  async publish({ topic, payload, options }: Publication): Promise<void> {
    const bytes = Buffer.isBuffer(payload) ? payload : JSON.stringify(payload)
    await this.client.publishAsync(topic, bytes, { qos: 1, ...options })
    this.acknowledged += 1
  }

  /** Publishes `count` messages and resolves when the broker has acknowledged all of them. */
  async flood(
    count: number,
    make: (index: number) => Publication,
    options: { readonly inFlight?: number; readonly perSecond?: number } = {},
  ): Promise<void> {
    const { inFlight = 100, perSecond } = options
    const startedAt = performance.now()
    let next = 0
    const lane = async () => {
      while (next < count) {
        const index = next++
        if (perSecond !== undefined) {
          const ahead = (index / perSecond) * 1000 - (performance.now() - startedAt)
          if (ahead > 0) await pause(ahead)
        }
        await this.publish(make(index))
      }
    }
    await Promise.all(Array.from({ length: Math.min(inFlight, count) }, lane))
  }

  async close(): Promise<void> {
    await this.client.endAsync(true)
  }
}
