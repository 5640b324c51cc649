/** A PUBLISH as it came in (MQTT 5.0, 3.3), the same for every broker and protocol version. */
export interface InboundMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: MessageProperties
  /** Wall clock at arrival, milliseconds since the epoch. */
  readonly receivedAt: number
  /** Which planned subscriptions of the lane delivered this copy; undefined where the broker cannot tell. */
  readonly subscriptionIds: readonly number[] | undefined
  /** Whether the age of the message can be told from its arrival: false for the first messages of a resumed session. */
  readonly fresh: boolean
  /**
   * Where `fresh` is false: the longest it can have waited at the broker, milliseconds. Absent when that is unknown, as
   * for what a session kept from before this process started.
   */
  readonly queuedAtMostMs?: number
  /** Bytes of a payload over the limit; `payload` is empty then. */
  readonly oversize?: number
  /** Why there is no payload, or what was kept of it has none; `payload` is empty then. */
  readonly withheld?: WithheldPayload
  /** The span that handles it (`traceparent`), which its answer goes out with; only where traces are made. */
  trace?: string
}

/** The codes of the errors that a message ends with whose payload was not taken, was not kept, or is not there any more. */
export type WithheldPayload = 'PROPERTIES_TOO_LARGE' | 'PAYLOAD_MALFORMED' | 'PAYLOAD_LOST'

/** MQTT 5 properties that handlers may see; empty on 3.1.1. */
export interface MessageProperties {
  /** Where the sender wants the answer. */
  readonly responseTopic?: string
  /** Goes back with the answer as it came. */
  readonly correlationData?: Buffer
  /** Chooses how the payload is decoded, where the route does not. */
  readonly contentType?: string
  /** Seconds left when the broker sent it (MQTT 5.0, 3.3.2.3.3). */
  readonly messageExpiryInterval?: number
  readonly userProperties?: Readonly<Record<string, string | string[]>>
}

/** How something is published. */
export interface PublishOptions {
  /** @default 1 */
  readonly qos?: 0 | 1 | 2
  /** @default false */
  readonly retain?: boolean
  /** MQTT 5 only. @default none */
  readonly properties?: MessageProperties
  /** Milliseconds after which an undelivered message is dropped from the outbox. @default kept until it is delivered */
  readonly expiresInMs?: number
  /** While the broker is away keep only the newest message of this topic. @default false */
  readonly newestOnly?: boolean
}

/** A message of QoS 0 without properties: a value that the next one replaces. */
export interface ValueMessage {
  readonly topic: string
  readonly payload: string
  readonly retain: boolean
}

/** The narrow face of a publishing link: what replies, pollers and handlers publish with. */
export interface Publisher {
  /** Resolves when the broker has the message (QoS 1 and 2), or when it is durably in the outbox. */
  publish(topic: string, payload: Buffer | string, options?: PublishOptions): Promise<void>
}

/** A publisher for whoever has thousands of values a second. */
export interface ValuePublisher extends Publisher {
  /** At QoS 0, all that come within a few milliseconds in one write. While the broker is away they are gone. */
  publishValues(values: readonly ValueMessage[]): void
}
