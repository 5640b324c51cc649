import type { ClaimOutcome, DeadLetter, ParkedMessage } from './delivery-store.js'
import type { DeliveryTables, SpoolPort, StoreOwner } from './gateway-ports.js'

/** What the gateway did while the database was away, to be done there in the same order. */
export type SpoolRecord =
  | { readonly op: 'dead'; readonly id: string; readonly letter: DeadLetter }
  | { readonly op: 'park'; readonly id: string; readonly message: Omit<ParkedMessage, 'id'> }
  | { readonly op: 'unpark'; readonly id: string }
  | { readonly op: 'claim'; readonly key: string; readonly payloadHash: string; readonly owner: StoreOwner }
  | { readonly op: 'complete'; readonly key: string; readonly outcome: ClaimOutcome; readonly payloadHash?: string }
  | { readonly op: 'release'; readonly key: string }

export function encodeRecord(record: SpoolRecord): Buffer {
  return Buffer.from(JSON.stringify(record))
}

/** What a record is about: operations on one subject stay in order. */
export function subjectOf(record: SpoolRecord): string {
  return 'key' in record ? `claim ${record.key}` : `message ${record.id}`
}

export interface SpooledRecord {
  readonly record: SpoolRecord
  readonly position: number
}

export function decodeRecord(data: Buffer): SpoolRecord {
  return JSON.parse(data.toString()) as SpoolRecord
}

const PAGE = 256

/** The oldest records, or those behind a position. */
export async function pageOf(spool: SpoolPort, after?: number): Promise<SpooledRecord[]> {
  const page = await spool.peek(PAGE, after)
  return page.map(({ data, position }) => ({ record: decodeRecord(data), position }))
}

/** Every record in the spool, oldest first. */
export async function* recordsIn(spool: SpoolPort): AsyncGenerator<SpooledRecord> {
  for (let page = await pageOf(spool); page.length > 0; page = await pageOf(spool, page.at(-1)!.position)) yield* page
}

/** Does in the tables what a record says. Doing it twice is doing it once. */
export async function applyRecord(tables: DeliveryTables, record: SpoolRecord): Promise<void> {
  switch (record.op) {
    case 'dead':
      await tables.deadLetters.put(record.letter, record.id)
      return
    case 'park':
      await tables.parked.put(record.message, record.id)
      return
    case 'unpark':
      await tables.parked.remove(record.id)
      return
    case 'claim':
      await tables.claims.claim(record.key, record.payloadHash, record.owner)
      return
    case 'complete':
      return tables.claims.complete(record.key, record.outcome)
    case 'release':
      return tables.claims.release(record.key)
    default:
      record satisfies never
  }
}
