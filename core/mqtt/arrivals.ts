import type { IPublishPacket, MqttClient } from 'mqtt'
import type { Clock } from '../support/clock.js'
import { Acknowledgements } from './acknowledgements.js'
import { Freshness } from './freshness.js'
import { propertyBytesOf, toInbound, weightOf } from './inbound.js'
import { Intake, type WindowLimits } from './intake.js'
import type { InboundMessage } from './message.js'
import { readPublishes } from './publish-reader.js'
import { condense, isSame, type Unacknowledged, unacknowledged } from './unacknowledged.js'

export interface ArrivalsOptions {
  /** Where the lane sends itself marks: nobody's messages. */
  readonly ownTopic: string
  readonly maxPacketBytes: number
  readonly window: WindowLimits
  readonly clock: Clock
  /** Called in the order of arrival. `settle` is called once when the message may be acknowledged. */
  readonly onMessage: (message: InboundMessage, settle: () => void) => void
  /** A mark of the lane's own came back; false where it is none of theirs. */
  readonly onMark: (mark: string) => boolean
  readonly publishMark: (mark: string) => void
  /** A message has left the window. */
  readonly onSettled: () => void
  /** The stream goes on after a pause. */
  readonly onResume: () => void
}

export interface ArrivalStats {
  readonly received: number
  readonly acknowledged: number
  /** Messages and bytes with the handlers now, and the most messages there ever were. */
  readonly inWindow: number
  readonly bytes: number
  readonly peakInWindow: number
  /** Times a full window paused the stream. */
  readonly paused: number
  /** QoS 0 messages dropped because the window stayed full. */
  readonly dropped: number
  /** Redeliveries that met the first copy still being handled, and were not handed on again. */
  readonly rejoined: number
}

/** Unacknowledged messages from which on the broker may be queueing: the smallest in-flight limit in use is about 20. */
const HOLDING_FROM = 10

/**
 * What comes over the connections of one lane, between the wire and its acknowledgement: admitted to the window, handed on in
 * the order of arrival, acknowledged in that order, and recognised when it comes again over the next connection.
 */
export class Arrivals {
  readonly freshness: Freshness
  readonly #options: ArrivalsOptions
  readonly #intake: Intake
  #acks: Acknowledgements | undefined
  /** Messages the last connection left unacknowledged, by packet id. */
  #carried = new Map<number, Unacknowledged>()
  #discarding = false
  #received = 0
  #acknowledgedBefore = 0
  #rejoined = 0

  constructor(options: ArrivalsOptions) {
    this.#options = options
    this.#intake = new Intake(options.window, options.clock, () => this.freshness.holding(), options.onResume)
    this.freshness = new Freshness(
      options.clock,
      options.publishMark,
      () => this.#intake.paused || (this.#acks?.length ?? 0) >= HOLDING_FROM,
    )
  }

  get stats(): ArrivalStats {
    const { messages, bytes, peakMessages, pauses, dropped } = this.#intake.stats
    return {
      received: this.#received,
      acknowledged: this.#acknowledgedBefore + (this.#acks?.sent ?? 0),
      inWindow: messages,
      bytes,
      peakInWindow: peakMessages,
      paused: pauses,
      dropped,
      rejoined: this.#rejoined,
    }
  }

  /** The stream waits for room in the window. */
  get paused(): boolean {
    return this.#intake.paused
  }

  /** Everything that was handed on has settled. */
  get idle(): boolean {
    return this.#intake.idle
  }

  /** Monotonic; the oldest without an acknowledgement reached the broker no earlier. Undefined where there is none. */
  get oldestBornAt(): number | undefined {
    return this.#acks?.oldest?.bornAt
  }

  /** Before anything can arrive over a new connection. `isAnswerDue`: what the broker answers is read past a full window. */
  open(client: MqttClient, isAnswerDue: () => boolean): void {
    const acks = new Acknowledgements(client)
    this.#acks = acks
    client.handleMessage = (packet, done) => this.#arrived(acks, packet, done)
    readPublishes(client, client.handleMessage, isAnswerDue)
  }

  /** The broker has the session no more: what was not acknowledged does not come again. */
  forget(): void {
    this.#carried.clear()
  }

  /** The connection is gone. */
  lost(): void {
    this.freshness.disconnected()
    this.#intake.disconnected()
    const acks = this.#acks
    if (acks === undefined) return
    this.#acknowledgedBefore += acks.sent
    this.#acks = undefined
    const handed = acks.close().filter((entry) => entry.handed)
    // What came before an earlier loss may not have come again yet.
    this.#carried = new Map([...this.#carried, ...handed.map((entry) => [entry.id, entry] as const)])
  }

  /** Hands nothing on any more; what the broker has sent beyond that stays in the session. */
  close(): void {
    this.#intake.close()
  }

  /** Sends the acknowledgements that are due. */
  flush(): void {
    this.#acks?.flush()
  }

  /** What is read from here on is not acknowledged: the broker sends it again to the next connection. */
  discard(): void {
    this.#discarding = true
    this.#intake.letGo()
  }

  #arrived(acks: Acknowledgements, packet: IPublishPacket, done: (error?: Error) => void): void {
    if (this.#discarding) {
      done()
      return
    }
    const { ownTopic, maxPacketBytes, clock, onMessage } = this.#options
    const payload = packet.payload as Buffer
    if (packet.topic === ownTopic) {
      this.#markArrived(acks, packet, payload)
      done()
      return
    }
    let entry: Unacknowledged | undefined
    if (packet.qos === 1) {
      entry = this.#rejoin(packet, payload)
      if (entry !== undefined) {
        acks.arrived(entry)
        if (entry.settled) acks.settle(entry)
        done()
        return
      }
      entry = unacknowledged(packet, payload, false)
      acks.arrived(entry)
      if (acks.length >= HOLDING_FROM) this.freshness.holding()
    }
    this.#received += 1
    const propertyBytes = propertyBytesOf(packet, payload)
    const message = toInbound(packet, payload, propertyBytes, maxPacketBytes, clock.now(), this.freshness)
    if (entry !== undefined) {
      const waited = message.fresh ? 0 : (message.queuedAtMostMs ?? Number.POSITIVE_INFINITY)
      entry.bornAt = clock.monotonic() - waited
    }
    const bytes = weightOf(packet, payload, propertyBytes)
    const run = () => {
      if (entry !== undefined) entry.handed = true
      onMessage(message, this.#settler(entry, bytes))
    }
    this.#intake.admit({ bytes, droppable: packet.qos === 0, run }, done)
  }

  /**
   * A redelivery of a message whose first copy is still being handled, or is done but had no PUBACK written: the broker has
   * kept its packet id busy all along, so it is the same message and runs once. Compared all the same, for brokers that
   * restored an older state.
   */
  #rejoin(packet: IPublishPacket, payload: Buffer): Unacknowledged | undefined {
    if (this.#carried.size === 0) return undefined
    const entry = this.#carried.get(packet.messageId!)
    if (entry === undefined) return undefined
    this.#carried.delete(packet.messageId!)
    if (!packet.dup || !isSame(entry, packet.topic, payload)) return undefined
    this.#rejoined += 1
    return entry
  }

  #settler(entry: Unacknowledged | undefined, bytes: number): () => void {
    let done = false
    return () => {
      if (done) return
      done = true
      if (entry !== undefined) {
        if (entry.owner === undefined) {
          entry.settled = true
          condense(entry)
        } else entry.owner.settle(entry)
      }
      this.#intake.release(bytes)
      this.#options.onSettled()
    }
  }

  #markArrived(acks: Acknowledgements, packet: IPublishPacket, payload: Buffer): void {
    if (packet.qos === 1) {
      const entry = unacknowledged(packet, payload, true)
      acks.arrived(entry)
      acks.settle(entry)
    }
    const mark = payload.toString()
    if (!this.#options.onMark(mark)) this.freshness.received(mark)
  }
}
