/** What benchmarks/cases/receive.ts sends and receives: a hundred bytes of JSON, on a topic of each receiver. */
export const DEVICE = 17
export const PAYLOAD = Buffer.from(
  JSON.stringify({ device_id: DEVICE, temperature: 21.53, humidity: 48.2, state: 'running', note: 'x'.repeat(19) }),
)

export function topicOf(subject: string): string {
  return `bench/${subject}/${DEVICE}/telemetry`
}

/** What the driver sends to the publisher. */
export interface Flood {
  readonly topic: string
  readonly messages: number
  readonly qos: 0 | 1
}

/** What a receiver answers when the last message of a round has been handled. */
export interface Received {
  /** Seconds between the order to begin and the last message. */
  readonly seconds: number
  /** Processor time of the receiver, microseconds, all its threads. */
  readonly cpuMicros: number
}
