import { Fifo } from '../fifo.js'
import type { Outgoing } from './outbound-session.js'

/** A client as a share group sees it. */
export interface Member {
  readonly clientId: string
  readonly hasRoom: boolean
  /** Takes the message; it comes back through {@link ShareGroup.redeal} if the member vanishes. */
  deal(message: Outgoing): void
}

export interface GroupLimits {
  /** Messages that wait while no member has room, and their bytes. */
  readonly queued: number
  readonly queuedBytes: number
}

type Waiting =
  | { readonly kind: 'message'; readonly message: Outgoing }
  /** Passed when everything dealt before it has found a member. */
  | { readonly kind: 'barrier'; readonly passed: () => void }

/** The members of one `$share/<group>/<filter>`: each message goes to one of them, in turn, where there is room. */
export class ShareGroup {
  readonly key: string
  readonly #limits: GroupLimits
  readonly #onDrop: (message: Outgoing) => void
  readonly #members = new Map<string, { readonly member: Member; readonly qos: 0 | 1 | 2 }>()
  readonly #queue = new Fifo<Waiting>()
  #order: string[] = []
  #turn = 0
  #bytes = 0

  constructor(key: string, limits: GroupLimits, onDrop: (message: Outgoing) => void) {
    this.key = key
    this.#limits = limits
    this.#onDrop = onDrop
  }

  get size(): number {
    return this.#members.size
  }

  get queued(): number {
    return this.#queue.length
  }

  join(member: Member, qos: 0 | 1 | 2): void {
    this.#members.set(member.clientId, { member, qos })
    this.#order = [...this.#members.keys()]
    this.pump()
  }

  leave(clientId: string): void {
    this.#members.delete(clientId)
    this.#order = [...this.#members.keys()]
    this.pump()
  }

  has(clientId: string): boolean {
    return this.#members.has(clientId)
  }

  accept(message: Omit<Outgoing, 'origin'>): void {
    const owned: Outgoing = { ...message, origin: this }
    if (this.#queue.length === 0 && this.#deal(owned)) return
    if (this.#queue.length >= this.#limits.queued || this.#bytes >= this.#limits.queuedBytes) {
      this.#onDrop(message.qos === 0 ? owned : (this.#dropOldestQos0(owned) ?? owned))
      return
    }
    this.#enqueue(owned)
  }

  /** Messages of a member that vanished go to the front: they are older than what waits. */
  redeal(messages: readonly Outgoing[]): void {
    this.#queue.unshift(messages.map((message) => ({ kind: 'message', message }) as const))
    for (const message of messages) this.#bytes += message.payload.length
    this.pump()
  }

  /** Calls `passed` once everything that waits now has been dealt. */
  barrier(passed: () => void): void {
    if (this.#queue.length === 0) passed()
    else this.#queue.push({ kind: 'barrier', passed })
  }

  /** Deals what waits, as far as members have room. */
  pump(): void {
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      if (next.kind === 'message') {
        if (!this.#deal(next.message)) return
        this.#bytes -= next.message.payload.length
        this.#queue.shift()
      } else {
        this.#queue.shift()
        next.passed()
      }
    }
  }

  #enqueue(message: Outgoing): void {
    this.#queue.push({ kind: 'message', message })
    this.#bytes += message.payload.length
  }

  /** Makes place for a message of QoS 1; returns the victim, or undefined when nothing of QoS 0 waits. */
  #dropOldestQos0(instead: Outgoing): Outgoing | undefined {
    const victim = this.#queue.removeFirst((waiting) => waiting.kind === 'message' && waiting.message.qos === 0)
    if (victim?.kind !== 'message') return undefined
    this.#bytes -= victim.message.payload.length
    this.#enqueue(instead)
    return victim.message
  }

  #deal(message: Outgoing): boolean {
    for (let tried = 0; tried < this.#order.length; tried += 1) {
      const clientId = this.#order[(this.#turn + tried) % this.#order.length]!
      const { member, qos } = this.#members.get(clientId)!
      if (!member.hasRoom) continue
      this.#turn = (this.#turn + tried + 1) % this.#order.length
      member.deal(qos < message.qos ? { ...message, qos } : message)
      return true
    }
    return false
  }
}
