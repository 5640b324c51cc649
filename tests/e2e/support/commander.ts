import { randomUUID } from 'node:crypto'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'

/** An independent MQTT client that sends commands and waits for their answers, as a back end would. */
export class Commander {
  readonly client: MqttClient
  readonly protocol: 4 | 5
  readonly #waiting = new Map<string, (answer: Record<string, unknown>) => void>()

  constructor(client: MqttClient, protocol: 4 | 5) {
    this.client = client
    this.protocol = protocol
    client.on('message', (topic, payload, packet) => {
      const answer = JSON.parse(payload.toString()) as Record<string, unknown>
      const correlation = packet.properties?.correlationData?.toString()
      const key = correlation ?? (typeof answer.request_id === 'string' ? answer.request_id : topic)
      const waiting = this.#waiting.get(key) ?? this.#waiting.get(topic)
      waiting?.(answer)
    })
  }

  static async connect(url: string, protocol: 4 | 5, options: IClientOptions = {}): Promise<Commander> {
    const client = await connectAsync(url, {
      protocolVersion: protocol,
      clientId: `commander-${randomUUID()}`,
      reconnectPeriod: 0,
      ...options,
    })
    return new Commander(client, protocol)
  }

  /** Publishes a command at QoS 1 and resolves with its answer: response topic on MQTT 5, `<topic>/response` on 3.1.1. */
  async send(topic: string, payload: unknown, timeoutMs = 60_000): Promise<Record<string, unknown>> {
    const bytes = typeof payload === 'string' ? payload : JSON.stringify(payload)
    if (this.protocol === 5) {
      const id = randomUUID()
      const responseTopic = `routemq/reply/${this.client.options.clientId}/${id}`
      await this.client.subscribeAsync(responseTopic, { qos: 1 })
      const answer = this.#wait(id, topic, timeoutMs)
      await this.client.publishAsync(topic, bytes, {
        qos: 1,
        properties: { responseTopic, correlationData: Buffer.from(id) },
      })
      return answer.finally(() => this.client.unsubscribeAsync(responseTopic))
    }
    const responseTopic = `${topic}/response`
    await this.client.subscribeAsync(responseTopic, { qos: 1 })
    const requestId =
      typeof payload === 'object' && payload !== null && 'request_id' in payload
        ? String(payload.request_id)
        : responseTopic
    const answer = this.#wait(requestId, topic, timeoutMs)
    await this.client.publishAsync(topic, bytes, { qos: 1 })
    return answer
  }

  async close(): Promise<void> {
    await this.client.endAsync()
  }

  #wait(key: string, topic: string, timeoutMs: number): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const guard = setTimeout(() => {
        this.#waiting.delete(key)
        reject(new Error(`no answer to ${topic} within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#waiting.set(key, (answer) => {
        clearTimeout(guard)
        this.#waiting.delete(key)
        resolve(answer)
      })
    })
  }
}
