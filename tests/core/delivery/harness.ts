import { setTimeout as pause } from 'node:timers/promises'
import type {
  Claim,
  ClaimOutcome,
  DeadLetter,
  DeliveryStore,
  ParkedMessage,
  StoredMessage,
} from '../../../core/delivery/delivery-store.js'
import { DeliveryEngine, type DeliveryEngineOptions } from '../../../core/delivery/engine.js'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { toStored } from '../../../core/delivery/stored.js'
import type { FieldPort, FieldRequest, FieldResponse } from '../../../core/modbus/field.js'
import type { InboundMessage, MessageProperties, PublishOptions } from '../../../core/mqtt/message.js'
import { checkPublish } from '../../../core/mqtt/publish-check.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { commitRouters } from '../../../core/router/commit.js'
import type { MiddlewareFactory } from '../../../core/router/context.js'
import type { Dispatcher, PlannedSubscription } from '../../../core/router/route.js'
import { Router } from '../../../core/router/router.js'

export { closedGate } from '../support/closed-gate.js'

/** A broker's worth of publishing, in memory: what went out, in order. */
export class Outgoing {
  readonly sent: { topic: string; payload: Buffer; options: PublishOptions | undefined }[] = []
  fail: ((topic: string) => Error | undefined) | undefined
  gate: Promise<void> | undefined
  /** Payloads over this are refused as a link does. */
  tooLarge = Number.POSITIVE_INFINITY

  async publish(topic: string, payload: Buffer | string, options?: PublishOptions): Promise<void> {
    await this.gate
    const error = this.fail?.(topic)
    if (error !== undefined) throw error
    checkPublish(topic, payload, this.tooLarge)
    this.sent.push({ topic, payload: Buffer.from(payload), options })
  }

  async call(topic: string, payload: unknown): Promise<unknown> {
    return { topic, payload }
  }

  on(topic: string): unknown[] {
    return this.sent.filter((one) => one.topic === topic).map(({ payload }) => JSON.parse(payload.toString()))
  }
}

/** Devices that answer as the test says. */
export class Field implements FieldPort {
  readonly requests: FieldRequest[] = []
  answer: (request: FieldRequest, signal: AbortSignal | undefined) => unknown = () => ({})

  async request<R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>> {
    this.requests.push(request)
    return (await this.answer(request, signal)) as FieldResponse<R>
  }
}

/** Keeps what it is given for as long as the test runs, as a database would; faults can be put in front. */
export class KeepingStore implements DeliveryStore {
  readonly durable = true
  readonly inner = new MemoryStore()
  readonly log: string[] = []
  fail: ((method: string) => Error | undefined) | undefined

  async #do<T>(method: string, run: () => Promise<T>): Promise<T> {
    await pause(1)
    const error = this.fail?.(method)
    if (error !== undefined) throw error
    this.log.push(method)
    return run()
  }
  deadLetter(letter: DeadLetter): Promise<void> {
    return this.#do('deadLetter', () => this.inner.deadLetter(letter))
  }
  park(message: Omit<ParkedMessage, 'id'>): Promise<string> {
    return this.#do('park', () => this.inner.park(message))
  }
  unpark(id: string): Promise<void> {
    return this.#do('unpark', () => this.inner.unpark(id))
  }
  fetchParked(id: string): Promise<ParkedMessage | undefined> {
    return this.#do('fetchParked', () => this.inner.fetchParked(id))
  }
  claim(key: string, hash: string): Promise<Claim> {
    return this.#do('claim', () => this.inner.claim(key, hash))
  }
  complete(key: string, outcome: ClaimOutcome): Promise<void> {
    return this.#do('complete', () => this.inner.complete(key, outcome))
  }
  release(key: string): Promise<void> {
    return this.#do('release', () => this.inner.release(key))
  }
}

export interface BenchOptions extends Partial<Omit<DeliveryEngineOptions, 'dispatcher' | 'config'>> {
  readonly middleware?: Record<string, MiddlewareFactory>
  readonly ackHoldMs?: number
  readonly maxPacketBytes?: number
}

/** An engine with routes on it, one lane that serves them all, and everything it sends kept. */
export function bench(define: (router: Router) => void, options: BenchOptions = {}) {
  const router = new Router()
  define(router)
  const dispatcher: Dispatcher = commitRouters([{ router, file: 'routers/test.ts' }], {
    middleware: options.middleware ?? {},
  })
  const outgoing = new Outgoing()
  const field = new Field()
  const store = options.store ?? new KeepingStore()
  const { middleware: _, ackHoldMs = 2_000, maxPacketBytes = 1_048_576, ...rest } = options
  const engine = new DeliveryEngine({
    publisher: outgoing,
    field,
    logger: silentLogger,
    random: () => 0,
    ...rest,
    store,
    dispatcher,
    config: { replyPrefixes: ['+/+/+/response', 'routemq/reply/#'], ackHoldMs, maxPacketBytes },
  })
  const subscriptions: PlannedSubscription[] = dispatcher.routes.map((route, index) => ({
    id: index + 1,
    filter: route.filter,
    qos: route.qos,
    shared: false,
    lane: 'default',
    slots: 'solo',
    routes: [route.id],
  }))
  const lane = engine.intake(subscriptions)
  const settled: string[] = []
  /** Hands one message over; resolves when it is settled. */
  const send = (topic: string, payload: unknown, extra: MessageExtras = {}): Promise<void> =>
    new Promise((resolve) => {
      lane(message(topic, payload, extra), () => {
        settled.push(topic)
        resolve()
      })
    })
  return { engine, outgoing, field, store, lane, send, settled, dispatcher, subscriptions }
}

export interface MessageExtras extends Partial<Omit<InboundMessage, 'topic' | 'payload' | 'properties'>> {
  readonly properties?: MessageProperties
}

export function message(topic: string, payload: unknown, extra: MessageExtras = {}): InboundMessage {
  const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload) ?? '')
  return {
    topic,
    payload: bytes,
    qos: 1,
    retain: false,
    dup: false,
    properties: {},
    receivedAt: Date.now(),
    subscriptionIds: undefined,
    fresh: true,
    ...extra,
  }
}

/** A kept message of a route that there is no more. */
export function strayLetter(): StoredMessage {
  const stray = message('gone', 1)
  return toStored('gone', stray, stray.payload, { deadline: undefined, auth: undefined, payloadHash: undefined })
}

/** Waits for a condition instead of for a time; fails after a while. */
export async function until(what: string, holds: () => boolean, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`)
    await pause(2)
  }
}
