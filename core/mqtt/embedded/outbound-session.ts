import type { Duplex } from 'node:stream'
import { Fifo } from '../fifo.js'
import { publishFrame, pubrelFrame } from './publish-frame.js'

/** A message on its way to one client. */
export interface Outgoing {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** The share group that dealt it, so that it can be dealt again. */
  readonly origin: object | undefined
}

export interface OutboundLimits {
  /** QoS 1 and 2 messages on the wire to one client without an acknowledgement. */
  readonly inFlight: number
  /** Messages waiting behind those, and their bytes. */
  readonly queued: number
  readonly queuedBytes: number
  /** Bytes handed to a socket that has not taken them yet. */
  readonly socketBytes: number
}

interface OnTheWire {
  readonly message: Outgoing
  /** PUBREC has come (QoS 2): from here on PUBREL is repeated instead of PUBLISH. */
  released: boolean
}

/**
 * The sending half of one client's session: a window of unacknowledged messages and a bounded queue behind it. aedes has
 * neither, and lets a client that stops reading hold back those who publish.
 */
export class OutboundSession {
  readonly #limits: OutboundLimits
  readonly #queue = new Fifo<Outgoing>()
  readonly #onTheWire = new Map<number, OnTheWire>()
  readonly #events: { readonly onRoom: () => void; readonly onDrop: (message: Outgoing) => void }
  #queuedBytes = 0
  #nextId = 1
  #socket: Duplex | undefined
  #corked = false

  constructor(limits: OutboundLimits, events: { onRoom: () => void; onDrop: (message: Outgoing) => void }) {
    this.#limits = limits
    this.#events = events
  }

  get online(): boolean {
    return this.#socket !== undefined
  }

  get queued(): number {
    return this.#queue.length
  }

  get inFlight(): number {
    return this.#onTheWire.size
  }

  /** Whether one more message would go straight to the wire. */
  get hasRoom(): boolean {
    return this.online && this.#queue.length === 0 && this.#mayWrite() && this.#onTheWire.size < this.#limits.inFlight
  }

  /** The client is connected: unacknowledged messages go out again as duplicates, then what waits. */
  attach(socket: Duplex): void {
    this.#socket = socket
    socket.on('drain', () => {
      if (this.#socket !== socket) return
      this.#pump()
      this.#events.onRoom()
    })
    for (const [id, { message, released }] of this.#onTheWire) {
      this.#write(released ? pubrelFrame(id) : publishFrame({ ...message, id, dup: true }))
    }
    this.#pump()
  }

  detach(): void {
    this.#socket = undefined
    this.#corked = false
    for (const gone of this.#queue.extract((message) => message.qos === 0)) this.#queuedBytes -= gone.payload.length
  }

  push(message: Outgoing): void {
    if (message.qos === 0 && !this.online) return // QoS 0 is not kept for those who are away
    while (this.#queue.length >= this.#limits.queued || this.#queuedBytes >= this.#limits.queuedBytes) {
      const victim = this.#queue.removeFirst((waiting) => waiting.qos === 0)
      if (victim === undefined) {
        this.#events.onDrop(message)
        return
      }
      this.#queuedBytes -= victim.payload.length
      this.#events.onDrop(victim)
    }
    this.#queue.push(message)
    this.#queuedBytes += message.payload.length
    this.#pump()
  }

  /** PUBACK or PUBCOMP. */
  acknowledge(id: number): void {
    if (!this.#onTheWire.delete(id)) return
    this.#pump()
    this.#events.onRoom()
  }

  /** PUBREC. */
  release(id: number): void {
    const entry = this.#onTheWire.get(id)
    if (entry !== undefined) entry.released = true
  }

  /** Takes out everything that a share group dealt here and that may be dealt to somebody else. */
  takeShared(): Outgoing[] {
    const taken: Outgoing[] = []
    for (const [id, { message, released }] of this.#onTheWire) {
      if (message.origin === undefined || released) continue
      this.#onTheWire.delete(id)
      taken.push(message)
    }
    for (const message of this.#queue.extract((waiting) => waiting.origin !== undefined)) {
      this.#queuedBytes -= message.payload.length
      taken.push(message)
    }
    return taken
  }

  #pump(): void {
    while (this.#socket !== undefined && this.#mayWrite()) {
      const message = this.#queue.peek()
      if (message === undefined) return
      if (message.qos > 0 && this.#onTheWire.size >= this.#limits.inFlight) return
      this.#queue.shift()
      this.#queuedBytes -= message.payload.length
      let id = 0
      if (message.qos > 0) {
        id = this.#allocateId()
        this.#onTheWire.set(id, { message, released: false })
      }
      this.#write(publishFrame({ ...message, id, dup: false }))
    }
  }

  #allocateId(): number {
    while (this.#onTheWire.has(this.#nextId)) this.#nextId = (this.#nextId % 65_535) + 1
    const id = this.#nextId
    this.#nextId = (this.#nextId % 65_535) + 1
    return id
  }

  #mayWrite(): boolean {
    return this.#socket !== undefined && this.#socket.writableLength < this.#limits.socketBytes
  }

  #write(frame: Buffer): void {
    const socket = this.#socket
    if (socket === undefined) return
    if (!this.#corked) {
      this.#corked = true
      socket.cork()
      setImmediate(() => {
        if (this.#socket === socket) this.#corked = false
        socket.uncork()
        // Below the socket's own high-water mark no `drain` follows: what the limit held back continues here.
        this.#pump()
      })
    }
    socket.write(frame)
  }
}
