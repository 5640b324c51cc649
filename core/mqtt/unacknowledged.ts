import { createHash } from 'node:crypto'
import type { IPublishPacket } from 'mqtt'
import type { Acknowledgements } from './acknowledgements.js'

/** One QoS 1 message that waits for its PUBACK. */
export interface Unacknowledged {
  readonly id: number
  /** To recognise it when it comes again; of what is done with only a digest, where that is shorter. */
  topic: string
  payload: Buffer
  digest: string | undefined
  /** Monotonic; it reached the broker no earlier. -Infinity where that is unknown. */
  bornAt: number
  settled: boolean
  /** Its handlers have it; until then it waits for room in the window and is forgotten with its connection. */
  handed: boolean
  /** A mark of the lane's own: nobody's message. */
  readonly own: boolean
  /** The connection on which its PUBACK is owed; undefined while there is none. */
  owner: Acknowledgements | undefined
}

/** Shorter ones are not worth the time that a digest takes. */
const SHORT_BYTES = 1_024
const NOTHING = Buffer.alloc(0)

export function unacknowledged(packet: IPublishPacket, payload: Buffer, own: boolean): Unacknowledged {
  return {
    id: packet.messageId!,
    topic: packet.topic,
    payload,
    digest: undefined,
    bornAt: Number.NEGATIVE_INFINITY,
    settled: false,
    handed: false,
    own,
    owner: undefined,
  }
}

/** It is done with and has left the window, but its PUBACK waits for earlier ones: its bytes must not wait with it. */
export function condense(entry: Unacknowledged): void {
  if (entry.digest !== undefined || entry.topic.length + entry.payload.length <= SHORT_BYTES) return
  entry.digest = digestOf(entry.topic, entry.payload)
  entry.topic = ''
  entry.payload = NOTHING
}

export function isSame(entry: Unacknowledged, topic: string, payload: Buffer): boolean {
  if (entry.digest !== undefined) return entry.digest === digestOf(topic, payload)
  return entry.topic === topic && entry.payload.equals(payload)
}

function digestOf(topic: string, payload: Buffer): string {
  // No topic holds a NUL, so nothing else reads the same.
  return createHash('sha256').update(`${topic}\0`).update(payload).digest('base64')
}
