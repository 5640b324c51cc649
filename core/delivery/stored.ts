import type { InboundMessage, MessageProperties, WithheldPayload } from '../mqtt/message.js'
import type { ErrorShape } from '../support/errors.js'
import type { DeadLetter, ParkedMessage, StoredMessage } from './delivery-store.js'

/** What a message looks like on its way into a store. `raw` are the bytes that may be kept: without any credential. */
export function toStored(
  route: string,
  message: InboundMessage,
  raw: Buffer,
  facts: {
    readonly deadline: number | undefined
    readonly auth: unknown
    readonly payloadHash: string | undefined
    readonly withheld?: WithheldPayload | undefined
  },
): StoredMessage {
  const { responseTopic, correlationData, contentType, userProperties } = message.properties
  const withheld = message.withheld ?? facts.withheld
  return {
    route,
    topic: message.topic,
    payload: raw.toString('base64'),
    qos: message.qos,
    retain: message.retain,
    properties: {
      ...(responseTopic !== undefined && { responseTopic }),
      ...(correlationData !== undefined && { correlationData: correlationData.toString('base64') }),
      ...(contentType !== undefined && { contentType }),
      ...(userProperties !== undefined && { userProperties }),
    },
    receivedAt: message.receivedAt,
    deadline: facts.deadline,
    ...(facts.auth !== undefined && { auth: facts.auth }),
    ...(facts.payloadHash !== undefined && { payloadHash: facts.payloadHash }),
    ...(message.oversize !== undefined && { oversize: message.oversize }),
    ...(withheld !== undefined && { withheld }),
  }
}

/** A parked message that nobody will run any more, as it is shown to a person. */
export function letterOfParked(parked: Omit<ParkedMessage, 'id'>, error: ErrorShape, failedAt: number): DeadLetter {
  const { key: _, attempt, keeper: __, bytes: ___, crc: ____, ...message } = parked
  return { ...message, error, attempts: attempt, failedAt }
}

export function propertiesOf(stored: Pick<StoredMessage, 'properties'>): MessageProperties {
  const { responseTopic, correlationData, contentType, userProperties } = stored.properties
  return {
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData, 'base64') }),
    ...(contentType !== undefined && { contentType }),
    ...(userProperties !== undefined && { userProperties }),
  }
}

/** The message again. Its age is told by the stored deadline, so it counts as fresh and carries no expiry. */
export function fromStored(stored: StoredMessage): InboundMessage {
  return {
    topic: stored.topic,
    payload: Buffer.from(stored.payload, 'base64'),
    qos: stored.qos,
    retain: stored.retain,
    dup: true,
    properties: propertiesOf(stored),
    receivedAt: stored.receivedAt,
    subscriptionIds: undefined,
    fresh: true,
    ...(stored.oversize !== undefined && { oversize: stored.oversize }),
    ...(stored.withheld !== undefined && { withheld: stored.withheld }),
  }
}
