import { codecOf, encodePayload } from '../mqtt/codec.js'
import type { InboundMessage, Publisher } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { CodecName, Dispatcher, Route } from '../router/route.js'
import { Backoff } from '../support/backoff.js'
import { type Clock, sleep } from '../support/clock.js'
import { type ErrorShape, isRetryable, RouteMQError, toErrorShape } from '../support/errors.js'
import { errorBody, replyBody } from './reply-body.js'
import { type ReplyTarget, ResponseTopics } from './response-topics.js'
import type { DeliveryStats } from './stats.js'

/** An answer that nobody could be given within this time is of no use to whoever asked. */
const REPLY_EXPIRES_MS = 60_000
const TRIES = 3
const REFUSALS_LOGGED_EVERY_MS = 10_000

export interface RepliesOptions {
  readonly dispatcher: Dispatcher
  readonly publisher: Publisher
  readonly prefixes: readonly string[]
  readonly logger: Logger
  readonly clock: Clock
  readonly stats: DeliveryStats
}

/** Publishes answers. Nothing it does rejects: an answer that cannot be handed over is counted and logged. */
export class Replies {
  readonly #options: RepliesOptions
  readonly #topics: ResponseTopics
  #quietUntil = Number.NEGATIVE_INFINITY

  constructor(options: RepliesOptions) {
    this.#options = options
    this.#topics = new ResponseTopics(options.dispatcher, options.prefixes, (topic, reason, first) => {
      options.stats.count('reply_refused')
      if (first && this.#mayWarn())
        options.logger.warn({ response_topic: topic, code: 'RESPONSE_TOPIC_REFUSED' }, reason)
    })
  }

  /** Strangers choose response topics: a new one with every message must not fill the log. */
  #mayWarn(): boolean {
    const now = this.#options.clock.monotonic()
    if (now < this.#quietUntil) return false
    this.#quietUntil = now + REFUSALS_LOGGED_EVERY_MS
    return true
  }

  /** Where the answer to a message goes; undefined where none is asked for or none may be given. */
  targetOf(message: InboundMessage, route: Route, requestId: string | number | undefined): ReplyTarget | undefined {
    return this.#topics.targetOf(message, route.reply || requestId !== undefined)
  }

  value(
    target: ReplyTarget,
    message: InboundMessage,
    route: Route,
    requestId: string | number | undefined,
    value: unknown,
  ) {
    const codec = codecFor(message, route)
    let body: Buffer
    try {
      const wanted = codec === 'raw' || codec === 'text' ? rawBody(value, requestId) : replyBody(value, requestId)
      body = wanted instanceof Uint8Array ? Buffer.from(wanted) : encodePayload(wanted, codecOfBody(codec, wanted))
    } catch (error) {
      const shape: ErrorShape = {
        code: 'HANDLER_FAILED',
        message: `what the handler returned cannot be sent as ${codec}: ${error instanceof Error ? error.message : String(error)}`,
      }
      return this.error(target, message, route, requestId, shape)
    }
    return this.#send(target, body, message.trace, (error) => this.error(target, message, route, requestId, error))
  }

  error(
    target: ReplyTarget,
    message: InboundMessage,
    route: Route,
    requestId: string | number | undefined,
    error: ErrorShape,
  ) {
    const codec = codecFor(message, route)
    const body = errorBody(error, requestId)
    const { details, ...plain } = error
    const instead = details === undefined ? undefined : () => this.error(target, message, route, requestId, plain)
    return this.#send(target, encodePayload(body, codecOfBody(codec, body)), message.trace, instead)
  }

  /** `instead` answers where the body cannot go out for its size: whoever asked must not wait in vain. */
  async #send(
    target: ReplyTarget,
    body: Buffer,
    trace: string | undefined,
    instead?: (error: ErrorShape) => Promise<void>,
  ): Promise<void> {
    const { publisher, clock, stats, logger } = this.#options
    const backoff = new Backoff()
    for (let tried = 1; ; tried++) {
      try {
        await publisher.publish(target.topic, body, {
          qos: 1,
          expiresInMs: REPLY_EXPIRES_MS,
          ...propertiesOf(target, trace),
        })
        stats.count('replied')
        return
      } catch (error) {
        if (tried < TRIES && isRetryable(error)) {
          await sleep(backoff.next(), undefined, clock)
          continue
        }
        if (instead !== undefined && error instanceof RouteMQError && error.code === 'PAYLOAD_TOO_LARGE') {
          logger.warn({ response_topic: target.topic, err: error }, 'a reply is too large; its error is sent instead')
          return instead(toErrorShape(error))
        }
        stats.count('reply_failed')
        logger.warn({ response_topic: target.topic, err: error }, 'a reply could not be published')
        return
      }
    }
  }
}

function propertiesOf({ correlationData }: ReplyTarget, trace: string | undefined) {
  if (trace !== undefined) {
    return {
      properties: { ...(correlationData !== undefined && { correlationData }), userProperties: { traceparent: trace } },
    }
  }
  return correlationData === undefined ? {} : { properties: { correlationData } }
}

/** A message is answered in the codec it came in. */
function codecFor(message: InboundMessage, route: Route): CodecName {
  return route.codec ?? codecOf(message.properties.contentType) ?? 'json'
}

/** `raw` and `text` cannot carry an object: those answers are JSON. */
function codecOfBody(codec: CodecName, body: unknown): CodecName {
  const plain = codec === 'raw' || codec === 'text'
  if (!plain) return codec
  return typeof body === 'string' ? 'text' : 'json'
}

/** A text or bytes answer goes out as it is; the correlation data tells whose it is. */
function rawBody(value: unknown, requestId: string | number | undefined): unknown {
  return typeof value === 'string' || value instanceof Uint8Array ? value : replyBody(value, requestId)
}
