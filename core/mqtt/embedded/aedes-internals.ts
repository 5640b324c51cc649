import type { Aedes, Client, PublishPacket } from 'aedes'

/**
 * The parts of aedes 1.2 that its types do not name. Read in its source: `lib/client.js` (deliver0, deliverQoS),
 * `aedes.js` (enqueueOffline -> persistence.outgoingEnqueueCombi), `lib/handlers/*` (acknowledgements end in the persistence).
 */
export interface AedesPersistence {
  outgoingEnqueueCombi(subs: readonly StoredSubscription[], packet: AedesPacket): Promise<void>
  outgoingEnqueue(sub: { readonly clientId: string }, packet: AedesPacket): Promise<void>
  outgoingUpdate(client: { readonly id: string }, packet: { readonly cmd: string; messageId?: number }): Promise<void>
  outgoingClearMessageId(client: { readonly id: string }, packet: { messageId?: number }): Promise<unknown>
  cleanSubscriptions(client: { readonly id: string }): Promise<void>
}

export interface StoredSubscription {
  readonly clientId: string
  readonly topic: string
  readonly qos: 0 | 1 | 2
}

export type AedesPacket = PublishPacket & { readonly brokerId?: string; readonly brokerCounter?: number }

type Deliver = (packet: AedesPacket, done: () => void) => void

/** A client with the two functions that its subscriptions call. */
export type DeliveringClient = Client & {
  deliver0: Deliver
  deliverQoS: Deliver
  readonly subscriptions: Readonly<Record<string, { readonly qos: number }>>
}

export function persistenceOf(broker: Aedes): AedesPersistence {
  return (broker as unknown as { persistence: AedesPersistence }).persistence
}
