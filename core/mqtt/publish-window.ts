import type { IClientPublishOptions, MqttClient } from 'mqtt'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Fifo } from './fifo.js'
import type { PublishOptions } from './message.js'
import { toWireProperties } from './properties.js'

export interface PublishLimits {
  /** QoS 1 and 2 publishes without an answer; the broker's Receive Maximum lowers it. @default 1000 */
  readonly inFlight: number
  /** Publishes that wait behind those, and their bytes. */
  readonly waiting: number
  readonly waitingBytes: number
  /** How long a publish outlives the connection it was made on, milliseconds. */
  readonly graceMs: number
}

export interface Publication {
  readonly topic: string
  readonly payload: Buffer | string
  readonly options: PublishOptions
}

/** What the outbox keeps and hands out for another try: it is never put back, because it is still there. */
export interface Replay {
  /** It was on its way when an earlier connection ended: nothing else is on its way with it. */
  readonly suspect: boolean
}

/** Something newer may have been kept meanwhile. */
export interface Returned {
  /** Wall clock milliseconds. */
  readonly acceptedAt: number
}

/** A publication that was accepted and has no answer. */
export interface Unanswered extends Returned {
  readonly publication: Publication
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

interface Pending extends Unanswered {
  readonly bytes: number
  readonly replay: Replay | undefined
  /** Connections that ended while it was in flight. */
  losses: number
}

/** The connection ended before the broker answered; `inFlight` publishes were on their way, 0 where this one still waited. */
export class ConnectionLost extends RouteMQError {
  readonly inFlight: number

  constructor(inFlight: number) {
    super('BROKER_UNAVAILABLE', 'the connection ended before the broker answered')
    this.inFlight = inFlight
  }
}

/** Losses of the connection that one publish outlives. */
export const MAX_LOSSES = 5
/** Room for topic, packet id and properties beside the payload. */
const PACKET_OVERHEAD = 256

const QUOTA_EXCEEDED = 0x97
const NOT_AUTHORIZED = 0x87
const TOPIC_NAME_INVALID = 0x90
/** What mqtt.js 5.16 calls back with as it gives a connection up, before that has closed: nobody answered. */
const GIVEN_UP = new Set(['Connection closed', 'client disconnecting'])

/**
 * Publishes of QoS 1 and 2, bounded: a window on the wire, a queue behind it, and an error when both are full. What was in
 * flight when the connection went is sent again on the next one, or given back after `graceMs`.
 */
export class PublishWindow {
  readonly #limits: PublishLimits
  readonly #clock: Clock
  readonly #waiting = new Fifo<Pending>()
  readonly #inFlight = new Set<Pending>()
  #bytes = 0
  #client: MqttClient | undefined
  #max = 0
  #maxBytes = Number.POSITIVE_INFINITY
  #closed = false
  #cancelGrace = () => {}

  constructor(limits: PublishLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  get pending(): number {
    return this.#waiting.length + this.#inFlight.size
  }

  /** A connection is up; `server` is what the broker said about itself (MQTT 5.0, 3.2.2.3). */
  attach(client: MqttClient, server: { readonly receiveMaximum?: number; readonly maximumPacketSize?: number }): void {
    this.#cancelGrace()
    this.#client = client
    this.#max = Math.min(this.#limits.inFlight, server.receiveMaximum ?? 65_535)
    this.#maxBytes = server.maximumPacketSize ?? Number.POSITIVE_INFINITY
    this.#pump()
  }

  /** Whether publishes go to a connection; false from the loss of one until the next. */
  get attached(): boolean {
    return this.#client !== undefined
  }

  /**
   * The connection is gone: what was in flight waits, before everything else, for the next one. Of what the outbox keeps
   * nothing stays here.
   *
   * @returns whether anything was on its way: that may be what the broker closed on.
   */
  detach(): boolean {
    this.#client = undefined
    const lost = this.#inFlight.size
    const again: Pending[] = []
    for (const pending of this.#inFlight) {
      pending.losses += 1
      if (pending.replay !== undefined) pending.reject(new ConnectionLost(lost))
      // The same message must not end every connection to come.
      else if (pending.losses >= MAX_LOSSES)
        pending.reject(lost === 1 ? refusedByClosing(pending) : new ConnectionLost(lost))
      else again.push(pending)
    }
    this.#inFlight.clear()
    this.#bytes = 0
    for (const pending of [...again, ...this.#waiting.clear()]) {
      if (pending.replay !== undefined) pending.reject(new ConnectionLost(0))
      else {
        this.#waiting.push(pending)
        this.#bytes += pending.bytes
      }
    }
    this.#cancelGrace()
    if (this.#closed) return lost > 0
    this.#cancelGrace = this.#clock.after(this.#limits.graceMs, () => {
      this.#giveBack(new RouteMQError('BROKER_UNAVAILABLE', `the broker has been away for ${this.#limits.graceMs} ms`))
    })
    return lost > 0
  }

  /**
   * Takes everything out that has no answer yet, in the order in which it is to be kept: oldest first, but of values that
   * the next one replaces the newest. Whoever takes it settles it.
   */
  takePending(): Unanswered[] {
    this.#bytes = 0
    const values = this.#waiting.extract(({ publication }) => publication.options.newestOnly === true)
    return [...this.#waiting.clear(), ...values.reverse()]
  }

  close(error: Error): void {
    this.#closed = true
    this.#client = undefined
    this.#cancelGrace()
    for (const pending of this.#inFlight) pending.reject(error)
    this.#inFlight.clear()
    this.#giveBack(error)
  }

  publish(publication: Publication, replay?: Replay): Promise<void> {
    if (replay !== undefined && this.#client === undefined) return Promise.reject(new ConnectionLost(0))
    const bytes = publication.payload.length
    if (this.#waiting.length >= this.#limits.waiting || this.#bytes + bytes > this.#limits.waitingBytes) {
      return Promise.reject(
        new RouteMQError('PUBLISH_OVERLOADED', `${this.pending} publishes wait for the broker already`, {
          details: { pending: this.pending, topic: publication.topic },
        }),
      )
    }
    return new Promise((resolve, reject) => {
      const acceptedAt = this.#clock.now()
      this.#waiting.push({ publication, acceptedAt, bytes, replay, losses: 0, resolve, reject })
      this.#bytes += bytes
      this.#pump()
    })
  }

  #giveBack(error: Error): void {
    for (const pending of this.#waiting.clear()) pending.reject(error)
    this.#bytes = 0
  }

  /** A suspect is on its way, by itself. */
  get #isAlone(): boolean {
    return this.#inFlight.size === 1 && this.#inFlight.values().next().value!.replay?.suspect === true
  }

  #pump(): void {
    while (this.#client !== undefined && this.#inFlight.size < this.#max) {
      const next = this.#waiting.peek()
      if (next === undefined) return
      if (this.#isAlone || (next.replay?.suspect === true && this.#inFlight.size > 0)) return
      this.#waiting.shift()
      this.#bytes -= next.bytes
      if (next.bytes + PACKET_OVERHEAD > this.#maxBytes) next.reject(tooLarge(next, this.#maxBytes))
      else this.#send(this.#client, next)
    }
  }

  #send(client: MqttClient, pending: Pending): void {
    this.#inFlight.add(pending)
    const { topic, payload, options } = pending.publication
    client.publish(topic, payload, wireOptions(options, client), (error) => {
      // After a loss the publish is no longer in flight here: it waits for the next connection.
      if (this.#client !== client || !this.#inFlight.has(pending)) return
      if (error && GIVEN_UP.has(error.message)) return
      this.#inFlight.delete(pending)
      if (error) pending.reject(refusal(error, topic))
      else pending.resolve()
      this.#pump()
    })
  }
}

export function wireOptions(options: PublishOptions, client: MqttClient): IClientPublishOptions {
  const properties = client.options.protocolVersion === 5 ? toWireProperties(options.properties) : undefined
  return {
    qos: options.qos ?? 1,
    retain: options.retain ?? false,
    ...(properties === undefined ? {} : { properties }),
  }
}

function refusal(error: Error & { code?: number | string }, topic: string): RouteMQError {
  const details = { topic, reason: error.code }
  if (error.code === NOT_AUTHORIZED) {
    return new RouteMQError('FORBIDDEN', `the broker does not let us publish on "${topic}"`, { details, cause: error })
  }
  if (error.code === TOPIC_NAME_INVALID) {
    return new RouteMQError('TOPIC_INVALID', `the broker refuses the topic "${topic}"`, { details, cause: error })
  }
  if (error.code === QUOTA_EXCEEDED) {
    return new RouteMQError('PUBLISH_OVERLOADED', 'the broker reports an exceeded quota', { details, cause: error })
  }
  return new RouteMQError('BROKER_UNAVAILABLE', `the broker did not take the message: ${error.message}`, {
    details,
    cause: error,
  })
}

/** A broker that speaks 3.1.1 has no other way to say that it will not take a message. */
export function refusedByClosing({ publication: { topic, payload } }: Pick<Unanswered, 'publication'>): RouteMQError {
  return new RouteMQError(
    'PUBLISH_REFUSED',
    `the broker closed ${MAX_LOSSES} connections instead of taking the message on "${topic}"`,
    { details: { topic, bytes: payload.length, losses: MAX_LOSSES } },
  )
}

function tooLarge({ publication: { topic }, bytes }: Pending, maxBytes: number): RouteMQError {
  return new RouteMQError('PAYLOAD_TOO_LARGE', `the broker takes packets of at most ${maxBytes} bytes`, {
    details: { topic, bytes, maxBytes },
  })
}
