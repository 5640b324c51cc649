import type { Duplex } from 'node:stream'
import type { Clock } from '../../support/clock.js'
import { filterProblem, parseShare } from '../topic.js'
import { type OutboundLimits, OutboundSession, type Outgoing } from './outbound-session.js'
import { type GroupLimits, type Member, ShareGroup } from './share-groups.js'

export interface SessionLimits {
  readonly outbound: OutboundLimits
  readonly group: GroupLimits
  /** How long a share-group member with a persistent session may be away before its messages are dealt to others. */
  readonly redealAfterMs: number
  /** How long the session of a client that is away is kept. */
  readonly sessionExpiryMs: number
}

/** What the broker hands in for a message that was published. */
export interface Published {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
}

/** Topic on which a lane sends itself marks; a mark must not overtake what its share groups still hold. */
const MARK_PREFIX = 'routemq/lane/'

interface Session {
  readonly clientId: string
  readonly persistent: boolean
  readonly outbound: OutboundSession
  readonly groups: Set<ShareGroup>
  /** Monotonic time since when it is away; undefined while connected. */
  awaySince: number | undefined
  cancelRedeal: (() => void) | undefined
}

export interface SessionEvents {
  /** A group has its first member: deliver what matches `filter` to `accept`. Returns how to stop that. */
  readonly openGroup: (filter: string, accept: (message: Published) => void) => () => void
  /** A session ended while its client was away; the broker forgets its subscriptions. */
  readonly expired: (clientId: string) => void
  readonly dropped: (topic: string) => void
}

/** All sessions of the embedded broker and the share groups they are members of. */
export class Sessions {
  readonly #limits: SessionLimits
  readonly #clock: Clock
  readonly #events: SessionEvents
  readonly #sessions = new Map<string, Session>()
  readonly #groups = new Map<string, { readonly group: ShareGroup; readonly close: () => void }>()

  constructor(limits: SessionLimits, clock: Clock, events: SessionEvents) {
    this.#limits = limits
    this.#clock = clock
    this.#events = events
  }

  get counts(): { sessions: number; groups: number; queued: number; inFlight: number } {
    let queued = 0
    let inFlight = 0
    for (const { outbound } of this.#sessions.values()) {
      queued += outbound.queued
      inFlight += outbound.inFlight
    }
    for (const { group } of this.#groups.values()) queued += group.queued
    return { sessions: this.#sessions.size, groups: this.#groups.size, queued, inFlight }
  }

  /** A client sent CONNECT. A clean start ends what there was. */
  open(clientId: string, clean: boolean): void {
    const known = this.#sessions.get(clientId)
    if (known !== undefined) {
      if (!clean && known.persistent) return
      this.#end(known)
    }
    const outbound: OutboundSession = new OutboundSession(this.#limits.outbound, {
      onRoom: () => {
        for (const group of session.groups) group.pump()
      },
      onDrop: (message) => this.#events.dropped(message.topic),
    })
    const session: Session = {
      clientId,
      persistent: !clean,
      outbound,
      groups: new Set(),
      awaySince: undefined,
      cancelRedeal: undefined,
    }
    this.#sessions.set(clientId, session)
  }

  /** The client has its CONNACK: from here on messages may flow. */
  attach(clientId: string, socket: Duplex): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    session.cancelRedeal?.()
    session.cancelRedeal = undefined
    session.awaySince = undefined
    session.outbound.attach(socket)
    for (const group of session.groups) group.pump()
  }

  detach(clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    session.outbound.detach()
    if (!session.persistent) {
      this.#end(session)
      return
    }
    session.awaySince = this.#clock.monotonic()
    session.cancelRedeal?.()
    session.cancelRedeal = this.#clock.after(this.#limits.redealAfterMs, () => this.#redeal(session), { unref: true })
  }

  /** Joins a share group; false when the filter is malformed. */
  join(clientId: string, share: string, qos: 0 | 1 | 2): boolean {
    const parsed = parseShare(share)
    const session = this.#sessions.get(clientId)
    if (parsed === undefined || session === undefined || filterProblem(parsed.filter) !== undefined) return false
    const entry = this.#groups.get(share) ?? this.#openGroup(share, parsed.filter)
    session.groups.add(entry.group)
    entry.group.join(this.#asMember(session, entry.group), qos)
    return true
  }

  leave(clientId: string, share: string): void {
    const session = this.#sessions.get(clientId)
    const entry = this.#groups.get(share)
    if (session === undefined || entry === undefined) return
    session.groups.delete(entry.group)
    this.#leaveGroup(entry.group, clientId)
  }

  /** A message for a client by a plain subscription. */
  deliver(clientId: string, message: Omit<Outgoing, 'origin'>): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    const push = () => session.outbound.push({ ...message, origin: undefined })
    if (!message.topic.startsWith(MARK_PREFIX) || message.topic !== MARK_PREFIX + clientId) {
      push()
      return
    }
    const holding = [...session.groups].filter((group) => group.queued > 0)
    let open = holding.length
    if (open === 0) {
      push()
      return
    }
    for (const group of holding) {
      group.barrier(() => {
        open -= 1
        if (open === 0) push()
      })
    }
  }

  isOnline(clientId: string): boolean {
    return this.#sessions.get(clientId)?.outbound.online === true
  }

  acknowledge(clientId: string, id: number): void {
    this.#sessions.get(clientId)?.outbound.acknowledge(id)
  }

  release(clientId: string, id: number): void {
    this.#sessions.get(clientId)?.outbound.release(id)
  }

  /** Ends the sessions whose clients have been away too long. */
  expire(): void {
    const now = this.#clock.monotonic()
    for (const session of [...this.#sessions.values()]) {
      if (session.awaySince === undefined || now - session.awaySince < this.#limits.sessionExpiryMs) continue
      this.#end(session)
      this.#events.expired(session.clientId)
    }
  }

  close(): void {
    for (const session of this.#sessions.values()) session.cancelRedeal?.()
    for (const { close } of this.#groups.values()) close()
    this.#sessions.clear()
    this.#groups.clear()
  }

  #openGroup(share: string, filter: string) {
    const group = new ShareGroup(share, this.#limits.group, (message) => this.#events.dropped(message.topic))
    const close = this.#events.openGroup(filter, (message) => group.accept({ ...message, retain: false }))
    const entry = { group, close }
    this.#groups.set(share, entry)
    return entry
  }

  #asMember(session: Session, group: ShareGroup): Member {
    return {
      clientId: session.clientId,
      get hasRoom() {
        return session.outbound.hasRoom && session.groups.has(group)
      },
      deal: (message) => session.outbound.push(message),
    }
  }

  #leaveGroup(group: ShareGroup, clientId: string): void {
    group.leave(clientId)
    if (group.size > 0) return
    this.#groups.get(group.key)?.close()
    this.#groups.delete(group.key)
  }

  /** What the member holds unacknowledged goes to the others of its groups, while there are others. */
  #redeal(session: Session): void {
    session.cancelRedeal = undefined
    const back = new Map<ShareGroup, Outgoing[]>()
    for (const message of session.outbound.takeShared()) {
      const group = message.origin as ShareGroup
      back.set(group, [...(back.get(group) ?? []), message])
    }
    for (const [group, messages] of back) {
      if (this.#groups.get(group.key)?.group === group) group.redeal(messages)
    }
  }

  #end(session: Session): void {
    session.cancelRedeal?.()
    session.outbound.detach()
    this.#redeal(session)
    for (const group of session.groups) this.#leaveGroup(group, session.clientId)
    session.groups.clear()
    if (this.#sessions.get(session.clientId) === session) this.#sessions.delete(session.clientId)
  }
}
