import { RouteMQError } from '../support/errors.js'
import { topicProblem } from './topic.js'

/**
 * What no broker takes, or we would not take ourselves, is not asked of one: some answer it by closing the connection.
 *
 * @throws TOPIC_INVALID, PAYLOAD_TOO_LARGE
 */
export function checkPublish(topic: string, payload: Buffer | string, maxBytes: number): void {
  checkTopic(topic)
  // Three bytes a character at most: only what may be too large is counted.
  if (payload.length * 3 <= maxBytes) return
  const bytes = Buffer.byteLength(payload)
  if (bytes <= maxBytes) return
  throw new RouteMQError(
    'PAYLOAD_TOO_LARGE',
    `cannot publish ${bytes} bytes on "${topic}", MQTT_MAX_PACKET_BYTES allows ${maxBytes}`,
    { details: { topic, bytes, maxBytes } },
  )
}

/** @throws TOPIC_INVALID */
export function checkTopic(topic: string): void {
  const problem = topicProblem(topic)
  if (problem === undefined) return
  throw new RouteMQError('TOPIC_INVALID', `cannot publish on "${topic}": ${problem}`, { details: { topic } })
}
