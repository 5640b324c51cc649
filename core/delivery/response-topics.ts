import type { InboundMessage } from '../mqtt/message.js'
import { checkResponseTopic, mayAnswer } from '../mqtt/reply-topic.js'
import type { Dispatcher } from '../router/route.js'

/** Where an answer goes. */
export interface ReplyTarget {
  readonly topic: string
  readonly correlationData: Buffer | undefined
}

const REMEMBERED_TOPICS = 1_000

/**
 * Decides which response topics may be published to. They come from strangers and would be published under our
 * credentials, so each must lie under a reply prefix, hold no wildcard and match none of our routes.
 */
export class ResponseTopics {
  readonly #filters: readonly string[]
  readonly #prefixes: readonly string[]
  readonly #onRefused: (topic: string, reason: string, first: boolean) => void
  // Callers use few response topics, each many times; the verdict on a topic never changes.
  readonly #verdicts = new Map<string, string | undefined>()

  constructor(
    dispatcher: Dispatcher,
    prefixes: readonly string[],
    onRefused: (topic: string, reason: string, first: boolean) => void,
  ) {
    this.#filters = dispatcher.routes.map((route) => route.filter)
    this.#prefixes = prefixes
    this.#onRefused = onRefused
  }

  /**
   * The MQTT 5 response topic where there is one and it is allowed; else `<topic>/response` where the route or a
   * `request_id` asks for it; else nowhere.
   */
  targetOf(message: InboundMessage, asked: boolean): ReplyTarget | undefined {
    const { topic, properties } = message
    if (properties.responseTopic === undefined && !asked) return undefined
    if (!mayAnswer(topic)) return undefined
    const { responseTopic, correlationData } = properties
    if (responseTopic !== undefined && this.#allows(responseTopic)) return { topic: responseTopic, correlationData }
    return asked ? { topic: `${topic}/response`, correlationData } : undefined
  }

  #allows(topic: string): boolean {
    const known = this.#verdicts.has(topic)
    const reason = known ? this.#verdicts.get(topic) : checkResponseTopic(topic, this.#prefixes, this.#filters)?.message
    if (!known) {
      if (this.#verdicts.size >= REMEMBERED_TOPICS) this.#verdicts.clear()
      this.#verdicts.set(topic, reason)
    }
    if (reason === undefined) return true
    this.#onRefused(topic, reason, !known)
    return false
  }
}
