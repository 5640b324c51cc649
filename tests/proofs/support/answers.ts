import { randomUUID } from 'node:crypto'
import { connectAsync, type MqttClient } from 'mqtt'

/** Hears every answer to a command, in a session that outlives a broker's restart. */
export class Answers {
  readonly #client: MqttClient
  /** By request id: each answer that came, as `ok` or its error code. */
  readonly byId = new Map<string, string[]>()
  /** When the first answer came, performance milliseconds. */
  readonly at = new Map<string, number>()

  private constructor(client: MqttClient) {
    this.#client = client
    client.on('error', () => {})
    client.on('message', (_topic, payload) => {
      const { request_id, error } = JSON.parse(payload.toString()) as { request_id: string; error?: { code: string } }
      const known = this.byId.get(request_id)
      const outcome = error?.code ?? 'ok'
      if (known !== undefined) known.push(outcome)
      else {
        this.byId.set(request_id, [outcome])
        this.at.set(request_id, performance.now())
      }
    })
  }

  static async on(url: string, filter: string, protocol: 4 | 5 = 5): Promise<Answers> {
    const client = await connectAsync(url, {
      protocolVersion: protocol,
      clientId: `answers-${randomUUID()}`,
      clean: false,
      ...(protocol === 5 ? { properties: { sessionExpiryInterval: 600, receiveMaximum: 1_000 } } : {}),
      reconnectPeriod: 100,
    })
    const answers = new Answers(client)
    await client.subscribeAsync(filter, { qos: 1 })
    return answers
  }

  get size(): number {
    return this.byId.size
  }

  /** Answers beyond the first, all commands together. */
  get repeated(): number {
    return [...this.byId.values()].reduce((sum, answers) => sum + answers.length - 1, 0)
  }

  /** Commands that were told different outcomes. */
  get contradictory(): string[] {
    return [...this.byId].filter(([, answers]) => new Set(answers).size > 1).map(([id]) => id)
  }

  /** How many commands ended with each outcome, by their first answer. */
  outcomes(): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const [first] of this.byId.values()) counts[first!] = (counts[first!] ?? 0) + 1
    return counts
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true)
  }
}
