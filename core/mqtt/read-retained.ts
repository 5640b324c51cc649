import { randomUUID } from 'node:crypto'
import type { IPublishPacket } from 'mqtt'
import { RouteMQError } from '../support/errors.js'
import { connectToAsk, type PresenceQuestion } from './presence.js'

export interface RetainedMessage {
  readonly topic: string
  readonly payload: string
  /** MQTT 5: seconds that are left of its expiry. */
  readonly expiresInS: number | undefined
}

const ANSWER_MS = 10_000
/** Topics of one SUBSCRIBE. */
const TOPICS = 200

/**
 * What is retained at these topics, by a connection of its own.
 *
 * @throws BROKER_UNAVAILABLE where it cannot be known: the broker is away, or refuses the subscription
 */
export async function readRetained(question: PresenceQuestion, topics: readonly string[]): Promise<RetainedMessage[]> {
  const connection = await connectToAsk(question)
  if (connection === undefined) throw unavailable('there is no connection to the broker')
  const { client, closed } = connection
  const found: RetainedMessage[] = []
  const end = `routemq/${question.clientId}/retained/${randomUUID()}`
  let cancel = () => {}
  try {
    await new Promise<void>((resolve, reject) => {
      cancel = question.clock.after(ANSWER_MS, () => reject(unavailable(`no answer in ${ANSWER_MS} ms`)))
      void closed.then(() => reject(unavailable('the connection was closed')))
      client.on('message', (topic: string, payload: Buffer, packet: IPublishPacket) => {
        if (topic === end) resolve()
        else if (packet.retain) {
          found.push({ topic, payload: payload.toString(), expiresInS: packet.properties?.messageExpiryInterval })
        }
      })
      const subscribe = async () => {
        for (let at = 0; at < topics.length; at += TOPICS) {
          const granted = await client.subscribeAsync(topics.slice(at, at + TOPICS) as string[], { qos: 0 })
          if (granted.some(({ qos }) => qos > 2)) throw new Error('the broker refuses the subscription')
        }
        // The broker hands over what is retained before anything newer, so this message marks the end of it.
        await client.subscribeAsync(end, { qos: 0 })
        client.publish(end, '', { qos: 0 })
      }
      subscribe().catch(reject)
    })
    return found
  } catch (error) {
    throw error instanceof RouteMQError ? error : unavailable(String(error), error)
  } finally {
    cancel()
    await connection.end()
  }
}

function unavailable(why: string, cause?: unknown): RouteMQError {
  return new RouteMQError('BROKER_UNAVAILABLE', `what is retained cannot be read: ${why}`, { cause })
}
