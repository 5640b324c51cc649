import { randomUUID } from 'node:crypto'
import type { IPublishPacket, MqttClient } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { ProtocolVersion } from './connect-options.js'
import { Connection } from './connection.js'

/** A running owner of the client id answers at once; one that is only remembered by a retained message never does. */
const ANSWER_MS = 2_000

const statusOf = (clientId: string) => `routemq/${clientId}/status`
const questionsOf = (clientId: string) => `routemq/${clientId}/status/ask`
const answersOf = (clientId: string) => `routemq/${clientId}/status/here`

/** Answers those who want to know whether this client id is in use: {@link refuseUsedClientId}. */
export class Presence {
  readonly #clientId: string
  #client: MqttClient | undefined

  constructor(clientId: string) {
    this.#clientId = clientId
  }

  /** A broker whose access rules refuse the subscription leaves us without an answer; nothing else depends on it. */
  attach(client: MqttClient): void {
    this.#client = client
    client.subscribe(questionsOf(this.#clientId), { qos: 0 }, () => {})
  }

  /** Whether the message was a question, and is dealt with. */
  received({ topic, payload }: IPublishPacket): boolean {
    if (topic !== questionsOf(this.#clientId)) return false
    this.#client?.publish(answersOf(this.#clientId), payload, { qos: 0 })
    return true
  }
}

export interface PresenceQuestion {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  readonly clock: Clock
}

/**
 * Whoever connects with a client id in use throws its owner out (MQTT 5.0, 3.1.4-3), and a plant loses its running gateway
 * to somebody's second start. So the newcomer asks first, under a name of its own: the retained status says that somebody
 * was there, an answer that he still is. A broker that is away, or refuses these topics, leaves the question open.
 *
 * @throws CLIENT_ID_IN_USE
 */
export async function refuseUsedClientId(question: PresenceQuestion): Promise<void> {
  const connection = await connectToAsk(question)
  if (connection === undefined) return
  try {
    if (!(await isAnswered(connection, question))) return
  } finally {
    await connection.end()
  }
  throw new RouteMQError(
    'CLIENT_ID_IN_USE',
    `the client id "${question.clientId}" is used by an installation that runs already; each needs its own ROUTEMQ_INSTANCE`,
    { details: { clientId: question.clientId } },
  )
}

/** A connection beside the one that the client id has; undefined where there is none to be had. */
export async function connectToAsk({
  config,
  url,
  clientId,
}: Omit<PresenceQuestion, 'clock'>): Promise<Connection | undefined> {
  const versions: ProtocolVersion[] = config.protocol === 'auto' ? [5, 4] : [config.protocol]
  for (const protocol of versions) {
    try {
      const asking = `${clientId}-ask-${randomUUID().slice(0, 8)}`
      return await Connection.open({ config, url, clientId: asking, clean: true, protocol, sessionExpirySeconds: 0 })
    } catch {
      // Whoever connects next says what is wrong.
    }
  }
  return undefined
}

/** The broker hands over what is retained before anything newer, so our own message marks the end of it. */
function isAnswered({ client, closed }: Connection, { clientId, clock }: PresenceQuestion): Promise<boolean> {
  const asked = randomUUID()
  const marked = `${asked} end of retained messages`
  return new Promise((resolve) => {
    let wasThere = false
    const cancel = clock.after(ANSWER_MS, () => resolve(false))
    const settle = (answer: boolean) => {
      cancel()
      resolve(answer)
    }
    void closed.then(() => settle(false))
    client.on('message', (topic, payload) => {
      const text = payload.toString()
      if (topic === statusOf(clientId)) wasThere ||= text === 'online'
      else if (text === asked) settle(true)
      else if (text === marked && !wasThere) settle(false)
    })
    client.subscribe([statusOf(clientId), answersOf(clientId)], { qos: 0 }, (error) => {
      if (error) return settle(false)
      client.publish(questionsOf(clientId), asked, { qos: 0 })
      client.publish(answersOf(clientId), marked, { qos: 0 })
    })
  })
}
