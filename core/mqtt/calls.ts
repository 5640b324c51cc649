import { randomUUID } from 'node:crypto'
import type { IPublishPacket, MqttClient } from 'mqtt'
import type { CallOptions } from '../router/context.js'
import type { Clock } from '../support/clock.js'
import { ERROR_CODES } from '../support/error-codes.js'
import { type ErrorShape, fromErrorShape, RouteMQError } from '../support/errors.js'
import { codecOf, decodePayload, encodePayload } from './codec.js'
import type { MessageProperties } from './message.js'
import type { Publication } from './publish-window.js'

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  /** Set where we added the `request_id` ourselves: the caller did not ask for it and does not get it. */
  readonly addedId: boolean
}

/** Calls that wait for more answers than this are refused: nobody answers, and memory must not grow. */
const MAX_CALLS = 10_000
const MAX_IDLE_TOPICS = 256

/**
 * Requests that this process published and whose answers it waits for. Over MQTT 5 the answer comes to an own response
 * topic with correlation data; on 3.1.1 to `<topic>/response`, told apart by `request_id`.
 */
export class Calls {
  readonly #prefix: string
  readonly #clock: Clock
  readonly #waiting = new Map<string, Waiting>()
  /** 3.1.1: how many calls listen on each `<topic>/response`. */
  readonly #listening = new Map<string, { users: number; ready: Promise<void> }>()
  #client: MqttClient | undefined
  #ownTopicReady: Promise<void> = Promise.resolve()

  constructor(clientId: string, clock: Clock) {
    this.#prefix = `routemq/reply/${clientId}/`
    this.#clock = clock
  }

  get waiting(): number {
    return this.#waiting.size
  }

  attach(client: MqttClient): void {
    this.#client = client
    this.#listening.clear()
    if (client.options.protocolVersion !== 5) return
    this.#ownTopicReady = subscribe(client, `${this.#prefix}+`)
    this.#ownTopicReady.catch(() => {}) // reported by the call that needs it
  }

  detach(): void {
    this.#client = undefined
  }

  close(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  async call(
    topic: string,
    payload: unknown,
    options: CallOptions,
    publish: (publication: Publication) => Promise<void>,
  ): Promise<unknown> {
    const client = this.#client
    if (client === undefined) throw new RouteMQError('BROKER_UNAVAILABLE', 'there is no connection to the broker')
    if (this.#waiting.size >= MAX_CALLS) {
      throw new RouteMQError('PUBLISH_OVERLOADED', `${MAX_CALLS} calls wait for an answer already`)
    }
    const id = randomUUID()
    const timeout = options.timeout ?? 5_000
    const modern = client.options.protocolVersion === 5
    const request = modern ? { payload, addedId: false, id } : withRequestId(payload, id)
    const answerTopic = `${topic}/response`

    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject, addedId: request.addedId })
    })
    answer.catch(() => {}) // awaited below; a failure of the publish comes first
    const cancel = this.#clock.after(timeout, () => {
      const waiting = this.#waiting.get(request.id)
      waiting?.reject(
        new RouteMQError('CALL_TIMEOUT', `nothing answered on "${topic}" within ${timeout} ms`, {
          details: { topic, timeout },
        }),
      )
    })
    try {
      const send = async () => {
        await (modern ? this.#ownTopicReady : this.#listen(client, answerTopic))
        await publish({
          topic,
          payload:
            request.payload instanceof Uint8Array ? Buffer.from(request.payload) : encodePayload(request.payload),
          options: {
            qos: options.qos ?? 1,
            // A request that has to wait for the broker must not run when nobody waits for its answer any more.
            expiresInMs: timeout,
            ...(modern ? { properties: this.#answerTo(id, options) } : {}),
          },
        })
      }
      const sent = send()
      sent.catch(() => {})
      // The answer may overtake the acknowledgement of the request, and the time limit covers both.
      return await Promise.race([answer, sent.then(() => answer)])
    } finally {
      cancel()
      this.#waiting.delete(request.id)
      if (!modern) this.#unlisten(client, answerTopic)
    }
  }

  #answerTo(id: string, { userProperties }: CallOptions): MessageProperties {
    return {
      responseTopic: this.#prefix + id,
      correlationData: Buffer.from(id),
      ...(userProperties === undefined ? {} : { userProperties }),
    }
  }

  /** Hands in a message that came over the publishing link. */
  received(packet: IPublishPacket): void {
    const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload)
    const contentType = packet.properties?.contentType
    let value: unknown
    let malformed: Error | undefined
    try {
      value = payload.length === 0 ? undefined : decodePayload(payload, codecOf(contentType) ?? 'json')
    } catch (error) {
      malformed = error as Error
    }
    const id = packet.topic.startsWith(this.#prefix) ? packet.topic.slice(this.#prefix.length) : requestId(value)
    const waiting = id === undefined ? undefined : this.#waiting.get(id)
    if (waiting === undefined) return // late, or the answer to somebody else on a shared response topic
    const error = malformed ?? remoteError(value)
    if (error !== undefined) waiting.reject(error)
    else waiting.resolve(waiting.addedId ? withoutRequestId(value) : value)
  }

  #listen(client: MqttClient, topic: string): Promise<void> {
    const known = this.#listening.get(topic)
    if (known !== undefined) {
      known.users += 1
      return known.ready
    }
    const ready = subscribe(client, topic)
    ready.catch(() => this.#listening.delete(topic)) // reported by the call that waits for it
    this.#listening.set(topic, { users: 1, ready })
    return ready
  }

  /** Topics stay subscribed for the next call, up to a bound: the longest known without a user goes. */
  #unlisten(client: MqttClient, topic: string): void {
    const known = this.#listening.get(topic)
    if (known === undefined || this.#client !== client) return
    known.users -= 1
    if (this.#listening.size <= MAX_IDLE_TOPICS) return
    for (const [idle, { users }] of this.#listening) {
      if (users > 0) continue
      this.#listening.delete(idle)
      if (client.connected && !client.disconnecting) client.unsubscribe(idle, () => {})
      return
    }
  }
}

function subscribe(client: MqttClient, topic: string): Promise<void> {
  return new Promise((resolve, reject) => {
    client.subscribe(topic, { qos: 1 }, (error) => {
      if (!error) return resolve()
      reject(
        new RouteMQError('SUBSCRIPTION_REFUSED', `the broker does not let us listen on "${topic}": ${error.message}`, {
          details: { filter: topic },
          cause: error,
        }),
      )
    })
  })
}

/** Adds a `request_id` where the payload is an object without one; keeps the caller's own. */
function withRequestId(payload: unknown, id: string): { payload: unknown; id: string; addedId: boolean } {
  const own = requestId(payload)
  if (own !== undefined) return { payload, id: own, addedId: false }
  if (typeof payload === 'object' && payload !== null && !Array.isArray(payload) && !ArrayBuffer.isView(payload)) {
    return { payload: { ...payload, request_id: id }, id, addedId: true }
  }
  if (payload === undefined || payload === null) return { payload: { request_id: id }, id, addedId: true }
  throw new RouteMQError(
    'PAYLOAD_INVALID',
    'a call over MQTT 3.1.1 needs an object as payload: the answer is found by its request_id',
  )
}

function requestId(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const id = (value as { request_id?: unknown }).request_id
  return typeof id === 'string' || typeof id === 'number' ? String(id) : undefined
}

function withoutRequestId(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const { request_id: _, ...rest } = value as Record<string, unknown>
  return rest
}

/** `{ "error": { code, message, details } }` as the error it stands for. */
function remoteError(value: unknown): Error | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const shape = (value as { error?: Partial<ErrorShape> }).error
  if (typeof shape !== 'object' || shape === null || typeof shape.code !== 'string') return undefined
  const message = typeof shape.message === 'string' ? shape.message : shape.code
  if (!Object.hasOwn(ERROR_CODES, shape.code)) {
    return new RouteMQError('HANDLER_FAILED', `${shape.code}: ${message}`, { details: { remoteCode: shape.code } })
  }
  return fromErrorShape({ ...(shape as ErrorShape), message })
}
