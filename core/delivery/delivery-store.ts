import type { WithheldPayload } from '../mqtt/message.js'
import type { ErrorShape } from '../support/errors.js'

/** A message as it is kept for one route: enough to run it again. */
export interface StoredMessage {
  readonly route: string
  readonly topic: string
  /** Base64. */
  readonly payload: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly properties: {
    readonly responseTopic?: string
    /** Base64. */
    readonly correlationData?: string
    readonly contentType?: string
    readonly userProperties?: Readonly<Record<string, string | string[]>>
  }
  readonly receivedAt: number
  readonly deadline: number | undefined
  /** What the authenticating middleware left in `ctx.state.auth`: the credential itself is gone from the bytes. */
  readonly auth?: unknown
  /** Hash of the bytes as they came, for the idempotency key: the kept bytes may lack a credential. */
  readonly payloadHash?: string
  /** Bytes of a payload over the limit: none of them are kept, and it runs no further than to that error. */
  readonly oversize?: number
  /** Why its payload is not in here; it must not count as an empty one. */
  readonly withheld?: WithheldPayload
}

export interface DeadLetter extends StoredMessage {
  readonly error: ErrorShape
  readonly attempts: number
  /** Wall clock milliseconds. */
  readonly failedAt: number
}

export interface DeadLetterRecord extends DeadLetter {
  readonly id: string
}

/** What lists show of a dead letter: all but its payload. */
export type DeadLetterHead = Omit<DeadLetterRecord, 'payload'>

/** A message taken off its lane to be finished later, its key still in order. */
export interface ParkedMessage extends StoredMessage {
  readonly id: string
  readonly key: string | undefined
  readonly attempt: number
  /** Length and CRC-32 of the payload; absent from what earlier versions parked. */
  readonly bytes?: number
  readonly crc?: number
  /** Which installation, and which life of its gateway, took it; set by the gateway. */
  readonly keeper?: { readonly instance: string; readonly boot: string }
}

/** What is read of a parked message before its turn has come: all but its payload. */
export type ParkedHead = Omit<ParkedMessage, 'payload'>

export type Claim =
  /** First time: run it. */
  | { readonly state: 'claimed' }
  /** A copy is running now; `wait` again until it has an outcome. */
  | { readonly state: 'running' }
  /** Done before: answer this. */
  | { readonly state: 'done'; readonly outcome: ClaimOutcome }
  /** Claimed by a process that died before the outcome was known. */
  | { readonly state: 'interrupted' }

export type ClaimOutcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: ErrorShape }

/**
 * What the delivery engine needs kept. The gateway implements it over the database and the spool; workers reach it over
 * IPC. Each promise resolves when the fact is durable, so that an acknowledgement may depend on it.
 */
export interface DeliveryStore {
  /** False without durable storage: then a message gets one attempt and is never parked. */
  readonly durable: boolean
  /** Keeping it again under its `id` changes nothing. */
  deadLetter(letter: DeadLetter, id?: string): Promise<void>
  park(message: Omit<ParkedMessage, 'id'>): Promise<string>
  unpark(id: string): Promise<void>
  /** A parked message with its payload; undefined where it is gone or damaged. Rejects where nobody can say just now. */
  fetchParked(id: string): Promise<ParkedMessage | undefined>
  /** Rejects with IDEMPOTENCY_KEY_REUSED where the key is known with another payload hash. */
  claim(key: string, payloadHash: string): Promise<Claim>
  complete(key: string, outcome: ClaimOutcome): Promise<void>
  /** Gives a claim back that provably did nothing. */
  release(key: string): Promise<void>
}
