import type { Claim, ClaimOutcome, DeadLetter, ParkedHead, ParkedMessage } from './delivery-store.js'

/** Which installation, and which life of it. */
export interface StoreOwner {
  readonly instance: string
  /** New with every start of the gateway. */
  readonly boot: string
}

/** The dead letters' table. Putting a letter again under its id changes nothing. */
export interface DeadLetterPort {
  put(letter: DeadLetter, id?: string): Promise<string>
}

export interface ParkedPage {
  readonly heads: readonly ParkedHead[]
  /** Where the next page begins; undefined where this is the last. */
  readonly next: number | undefined
}

/** The parked messages' table. Putting a message again under its id changes nothing. */
export interface ParkPort {
  put(message: Omit<ParkedMessage, 'id'>, id?: string): Promise<string>
  /** In the order of parking, without their payloads, behind an earlier page. `onDamaged` is told of each that cannot be read. */
  page(limit: number, after?: number, onDamaged?: (id: string, route: string) => void): Promise<ParkedPage>
  /** Undefined where it is gone or damaged. */
  get(id: string): Promise<ParkedMessage | undefined>
  remove(id: string): Promise<boolean>
}

/** The claims' table. A claim of the same owner is `running`, one of an earlier life `interrupted`. */
export interface ClaimPort {
  claim(key: string, payloadHash: string, owner: StoreOwner): Promise<Claim>
  complete(key: string, outcome: ClaimOutcome): Promise<void>
  release(key: string): Promise<void>
  /** Every key there is, at most `limit` behind one of them, in a fixed order. */
  keys(limit: number, after?: string): Promise<readonly string[]>
}

export interface DeliveryTables {
  readonly deadLetters: DeadLetterPort
  readonly parked: ParkPort
  readonly claims: ClaimPort
}

/** The disk queue that stands in while the database is away. */
export interface SpoolPort {
  readonly count: number
  /** Gives the position before each record. */
  append(records: readonly Buffer[]): Promise<readonly number[]>
  /** The first record behind a position. */
  read(after: number): Promise<Buffer | undefined>
  peek(limit: number, after?: number): Promise<readonly { readonly position: number; readonly data: Buffer }[]>
  ack(position: number): Promise<void>
}
