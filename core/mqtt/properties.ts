import type { IClientPublishOptions, IPublishPacket } from 'mqtt'
import type { MessageProperties } from './message.js'

const NONE: MessageProperties = Object.freeze({})

/** The properties handlers may see, out of a received packet. */
export function fromWireProperties(wire: IPublishPacket['properties']): MessageProperties {
  if (wire === undefined) return NONE
  const { responseTopic, correlationData, contentType, messageExpiryInterval, userProperties } = wire
  // The plain case first: a subscription identifier is all that most messages carry.
  if (
    responseTopic === undefined &&
    correlationData === undefined &&
    contentType === undefined &&
    messageExpiryInterval === undefined &&
    userProperties === undefined
  ) {
    return NONE
  }
  return {
    ...(responseTopic === undefined ? {} : { responseTopic }),
    ...(correlationData === undefined ? {} : { correlationData }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(messageExpiryInterval === undefined ? {} : { messageExpiryInterval }),
    ...(userProperties === undefined ? {} : { userProperties: { ...userProperties } }),
  }
}

/** The reverse; undefined when there is nothing to send. */
export function toWireProperties(properties: MessageProperties | undefined): IClientPublishOptions['properties'] {
  if (properties === undefined) return undefined
  const { responseTopic, correlationData, contentType, messageExpiryInterval, userProperties } = properties
  return {
    ...(responseTopic === undefined ? {} : { responseTopic }),
    ...(correlationData === undefined ? {} : { correlationData }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(messageExpiryInterval === undefined ? {} : { messageExpiryInterval }),
    // mqtt-packet announces a length for an empty set and writes nothing: the broker would wait for the rest for good.
    ...(isEmpty(userProperties) ? {} : { userProperties: { ...userProperties } }),
  }
}

function isEmpty(properties: MessageProperties['userProperties']): properties is undefined {
  return properties === undefined || Object.keys(properties).length === 0
}

/** Ids of the planned subscriptions that delivered this copy; undefined where the broker does not say. */
export function subscriptionIds(wire: IPublishPacket['properties']): readonly number[] | undefined {
  const ids: number | number[] | undefined = wire?.subscriptionIdentifier
  if (ids === undefined) return undefined
  return typeof ids === 'number' ? [ids] : ids
}
