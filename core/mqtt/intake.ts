import type { Clock } from '../support/clock.js'
import { Fifo } from './fifo.js'

/** A message between the wire and its handlers. */
export interface Admission {
  readonly bytes: number
  /** QoS 0 may be dropped; nothing else may. */
  readonly droppable: boolean
  /** Hands it to the delivery engine. */
  readonly run: () => void
}

export interface WindowLimits {
  readonly messages: number
  readonly bytes: number
}

/** How long a full window waits for room before QoS 0 is dropped instead of held. */
const PATIENCE_MS = 250

/**
 * The window of a lane: so many messages and bytes are with the handlers at a time. When it is full the stream is paused,
 * which lets the broker and its other subscribers feel it. A flood of QoS 0 must not block QoS 1 for long: when a pause lasts,
 * QoS 0 is read on, kept up to a bound of the window's size, and beyond it the oldest is dropped and counted.
 */
export class Intake {
  readonly #limits: WindowLimits
  readonly #clock: Clock
  readonly #onPause: () => void
  readonly #onResume: () => void
  readonly #backlog = new Fifo<Admission>()
  #backlogBytes = 0
  #messages = 0
  #bytes = 0
  #peakMessages = 0
  #pauses = 0
  #dropped = 0
  /** The reader that waits; calling it lets the stream go on. */
  #reader: (() => void) | undefined
  /** It has waited for a turn of the event loop. */
  #paused = false
  #pauseDue: NodeJS.Immediate | undefined
  #cancelPatience = () => {}
  #flooded = false
  #closed = false
  #advancing = false

  constructor(limits: WindowLimits, clock: Clock, onPause: () => void, onResume: () => void) {
    this.#limits = limits
    this.#clock = clock
    this.#onPause = onPause
    this.#onResume = onResume
  }

  /** Messages and bytes with the handlers now, the most there ever were, pauses and drops since the start. */
  get stats() {
    return {
      messages: this.#messages,
      bytes: this.#bytes,
      peakMessages: this.#peakMessages,
      waiting: this.#backlog.length,
      pauses: this.#pauses,
      dropped: this.#dropped,
    }
  }

  get paused(): boolean {
    return this.#paused
  }

  get idle(): boolean {
    return this.#messages === 0
  }

  /** Takes a message; `next` is called when the stream may go on, at once where there is room. */
  admit(admission: Admission, next: () => void): void {
    if (!this.#closed && this.#backlog.length === 0 && this.#hasRoom(admission.bytes)) {
      this.#run(admission)
      next()
      return
    }
    this.#backlog.push(admission)
    this.#backlogBytes += admission.bytes
    if (this.#flooded && admission.droppable && !this.#closed) {
      this.#trim()
      next()
      return
    }
    this.#wait(next)
  }

  /** A message has settled. */
  release(bytes: number): void {
    this.#messages -= 1
    this.#bytes -= bytes
    this.#advance()
  }

  /** Hands nothing on any more; the stream stays paused at its next message. */
  close(): void {
    this.#closed = true
    this.#cancelPatience()
  }

  /** The connection is gone: what the broker will send again is forgotten. */
  disconnected(): void {
    this.#cancelPatience()
    this.#paused = false
    for (const gone of this.#backlog.extract((admission) => !admission.droppable)) this.#backlogBytes -= gone.bytes
    this.#reader = undefined
  }

  /** Lets a paused stream go on although nothing will be handed on: for the end of the connection. */
  letGo(): void {
    const reader = this.#reader
    this.#reader = undefined
    this.#paused = false
    reader?.()
  }

  #hasRoom(bytes: number): boolean {
    // One message larger than the whole window must still pass, alone.
    if (this.#messages === 0) return true
    return this.#messages < this.#limits.messages && this.#bytes + bytes <= this.#limits.bytes
  }

  #run(admission: Admission): void {
    this.#messages += 1
    this.#bytes += admission.bytes
    if (this.#messages > this.#peakMessages) this.#peakMessages = this.#messages
    admission.run()
  }

  #advance(): void {
    if (this.#closed || this.#advancing) return // a handler that settles at once comes back here
    this.#advancing = true
    for (
      let next = this.#backlog.peek();
      next !== undefined && this.#hasRoom(next.bytes);
      next = this.#backlog.peek()
    ) {
      this.#backlog.shift()
      this.#backlogBytes -= next.bytes
      this.#run(next)
    }
    this.#advancing = false
    if (this.#backlog.length > 0 || this.#reader === undefined) return
    this.#flooded = false
    this.#cancelPatience()
    this.#resume()
  }

  #resume(): void {
    const reader = this.#reader
    this.#reader = undefined
    if (this.#paused) {
      this.#paused = false
      this.#onResume()
    }
    reader?.()
  }

  /** A window that handlers empty again without waiting for anything is no pause, and not worth its timer. */
  #wait(next: () => void): void {
    this.#reader = next
    this.#pauseDue ??= setImmediate(() => {
      this.#pauseDue = undefined
      if (this.#reader !== undefined) this.#pause()
    })
  }

  #pause(): void {
    this.#paused = true
    this.#pauses += 1
    this.#onPause()
    this.#cancelPatience()
    if (this.#closed) return
    this.#cancelPatience = this.#clock.after(PATIENCE_MS, () => this.#impatient(), { unref: true })
  }

  #impatient(): void {
    if (this.#reader === undefined || this.#closed) return
    // What blocks is the newest of the backlog. QoS 1 keeps blocking; QoS 0 is read on.
    const newest = this.#backlog.peekLast()
    if (newest === undefined || !newest.droppable) return
    this.#flooded = true
    this.#trim()
    this.#resume()
  }

  #trim(): void {
    while (this.#backlog.length > this.#limits.messages || this.#backlogBytes > this.#limits.bytes) {
      const oldest = this.#backlog.removeFirst((admission) => admission.droppable)
      if (oldest === undefined) return
      this.#backlogBytes -= oldest.bytes
      this.#dropped += 1
    }
  }
}
