import type { AppDatabase } from '../database/app-tables.js'
import type { Actor, FieldPort } from '../modbus/field.js'
import type { PublishOptions } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { CallOptions, Context, MessageFacts, Params } from '../router/context.js'
import type { Route } from '../router/route.js'
import { ownField } from './deadline.js'
import { FieldUse } from './field-use.js'
import { nameOfRequest } from './request-name.js'
import type { Unit } from './unit.js'

/** What contexts of one engine share. */
export interface ContextServices {
  readonly field: FieldPort
  readonly logger: Logger
  /** Made when first asked for. */
  readonly db: () => AppDatabase
  publish(topic: string, payload: unknown, options: PublishOptions | undefined): Promise<void>
  call(topic: string, payload: unknown, options: CallOptions | undefined): Promise<unknown>
  reply(unit: Unit, context: DeliveryContext, value: unknown): Promise<void>
  terminate(unit: Unit, work: () => unknown): void
  /** Its deadline as the wall clock reads now, which may have been set since. */
  deadlineNow(unit: Unit): number | undefined
}

/**
 * One attempt of one route on one message. Made for every message, so nothing is built before it is asked for; the
 * methods are getters because handlers take the context apart: `({ payload, reply }) => …`.
 */
export class DeliveryContext implements Context {
  readonly params: Params
  payload: unknown
  raw: Buffer
  readonly topic: string
  readonly route: Route
  readonly attempt: number
  readonly deadline: number | undefined
  readonly #unit: Unit
  readonly #services: ContextServices
  #controller: AbortController | undefined
  #state: Record<string, unknown> | undefined
  #field: FieldUse | undefined
  #log: Logger | undefined

  constructor(unit: Unit, payload: unknown, services: ContextServices) {
    this.params = unit.params
    this.payload = payload
    this.raw = unit.raw
    this.topic = unit.message.topic
    this.route = unit.route
    this.attempt = unit.attempt
    this.deadline = unit.deadline
    this.#unit = unit
    this.#services = services
  }

  get message(): MessageFacts {
    const { qos, retain, dup, properties, receivedAt } = this.#unit.message
    return { qos, retain, dup, properties, receivedAt }
  }

  get reply(): (value: unknown) => Promise<void> {
    return (value) => this.#services.reply(this.#unit, this, value)
  }

  get publish(): (topic: string, payload: unknown, options?: PublishOptions) => Promise<void> {
    return (topic, payload, options) => this.#services.publish(topic, payload, options)
  }

  get call(): (topic: string, payload: unknown, options?: CallOptions) => Promise<unknown> {
    return (topic, payload, options) => this.#services.call(topic, payload, options)
  }

  get terminate(): (work: () => unknown) => void {
    return (work) => this.#services.terminate(this.#unit, work)
  }

  get devices(): FieldPort {
    this.#field ??= new FieldUse({
      field: this.#services.field,
      signal: this.signal,
      deadline: () => this.#services.deadlineNow(this.#unit),
      actor: this.#actor(),
      claim: this.#unit.claimed ? this.#unit.claimKey : undefined,
    })
    return this.#field
  }

  /** The span of this attempt: the answer goes out with it. */
  set trace(context: string) {
    this.#unit.message.trace = context
  }

  /** What the sender calls this message by: its `request_id`, else its correlation data. */
  get requestId(): string | undefined {
    return nameOfRequest(this.#unit)
  }

  get db(): AppDatabase {
    return this.#services.db()
  }

  get log(): Logger {
    if (this.#log === undefined) {
      const id = this.requestId
      const request = id === undefined ? {} : { request_id: id }
      this.#log = this.#services.logger.child({ route: this.route.id, topic: this.topic, ...request })
    }
    return this.#log
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return this.#controller.signal
  }

  get state(): Record<string, unknown> {
    if (this.#state === undefined) {
      // No prototype: a middleware that looks up a name from a payload must not find `constructor`.
      this.#state = Object.create(null) as Record<string, unknown>
      if (this.#unit.auth !== undefined) this.#state.auth = this.#unit.auth
    }
    return this.#state
  }

  /** What the authenticating middleware left, to be kept with the message. */
  get auth(): unknown {
    return this.#state === undefined ? this.#unit.auth : this.#state.auth
  }

  /** What this attempt did to devices; undefined when it never asked for them. */
  get field(): FieldUse | undefined {
    return this.#field
  }

  abort(reason: unknown): void {
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
  }

  #actor(): Actor {
    const name = ownField(this.auth, 'name')
    const id = this.requestId
    return {
      kind: 'mqtt',
      name: typeof name === 'string' ? `${name} (${this.topic})` : this.topic,
      ...(id === undefined ? {} : { request_id: id }),
    }
  }
}
