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

interface Pending extends Publication {
  readonly bytes: number
  /** Connections that ended while it was in flight. */
  losses: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** Losses of the connection that one publish outlives. */
const MAX_LOSSES = 5
/** Room for topic, packet id and properties beside the payload. */
const PACKET_OVERHEAD = 256

const QUOTA_EXCEEDED = 0x97
const NOT_AUTHORIZED = 0x87
const TOPIC_NAME_INVALID = 0x90

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

  /** The connection is gone: what was in flight waits, before everything else, for the next one. */
  detach(): void {
    this.#client = undefined
    const again: Pending[] = []
    for (const pending of this.#inFlight) {
      pending.losses += 1
      // A broker answers what it will not take by closing: the same message must not end every connection to come.
      if (pending.losses < MAX_LOSSES) again.push(pending)
      else
        pending.reject(
          new RouteMQError('BROKER_UNAVAILABLE', `${pending.losses} connections ended before an answer came`),
        )
    }
    this.#waiting.unshift(again)
    for (const { bytes } of again) this.#bytes += bytes
    this.#inFlight.clear()
    this.#cancelGrace()
    if (this.#closed) return
    this.#cancelGrace = this.#clock.after(this.#limits.graceMs, () => {
      this.#giveBack(new RouteMQError('BROKER_UNAVAILABLE', `the broker has been away for ${this.#limits.graceMs} ms`))
    })
  }

  /** Takes everything out that has no answer yet, for the outbox. The promises are settled by `settle`. */
  takePending(): {
    readonly publication: Publication
    readonly resolve: () => void
    readonly reject: (e: Error) => void
  }[] {
    this.#bytes = 0
    return this.#waiting.clear().map((pending) => ({ publication: pending, ...pending }))
  }

  close(error: Error): void {
    this.#closed = true
    this.#client = undefined
    this.#cancelGrace()
    for (const pending of this.#inFlight) pending.reject(error)
    this.#inFlight.clear()
    this.#giveBack(error)
  }

  publish(publication: Publication): Promise<void> {
    const bytes = publication.payload.length
    if (this.#waiting.length >= this.#limits.waiting || this.#bytes + bytes > this.#limits.waitingBytes) {
      return Promise.reject(
        new RouteMQError('PUBLISH_OVERLOADED', `${this.pending} publishes wait for the broker already`, {
          details: { pending: this.pending, topic: publication.topic },
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...publication, bytes, losses: 0, resolve, reject })
      this.#bytes += bytes
      this.#pump()
    })
  }

  #giveBack(error: Error): void {
    for (const pending of this.#waiting.clear()) pending.reject(error)
    this.#bytes = 0
  }

  #pump(): void {
    while (this.#client !== undefined && this.#inFlight.size < this.#max) {
      const pending = this.#waiting.shift()
      if (pending === undefined) return
      this.#bytes -= pending.bytes
      if (pending.bytes + PACKET_OVERHEAD > this.#maxBytes) pending.reject(tooLarge(pending, this.#maxBytes))
      else this.#send(this.#client, pending)
    }
  }

  #send(client: MqttClient, pending: Pending): void {
    this.#inFlight.add(pending)
    client.publish(pending.topic, pending.payload, wireOptions(pending.options, client), (error) => {
      // After a loss the publish is no longer in flight here: it waits for the next connection.
      if (this.#client !== client || !this.#inFlight.delete(pending)) return
      if (error) pending.reject(refusal(error, pending.topic))
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

function tooLarge({ topic, bytes }: { topic: string; bytes: number }, maxBytes: number): RouteMQError {
  return new RouteMQError('PAYLOAD_TOO_LARGE', `the broker takes packets of at most ${maxBytes} bytes`, {
    details: { topic, bytes, maxBytes },
  })
}
