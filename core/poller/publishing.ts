import type { ValueMessage, ValuePublisher } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { PollCounter } from './poll-metrics.js'
import type { Outgoing, TargetResult } from './target-output.js'

/** Hands messages to the publisher; that they are not taken, and that they are again, is said once. */
export class Publishing {
  readonly #publisher: ValuePublisher
  readonly #counter: PollCounter
  readonly #logger: Logger
  #isPublishing = true

  constructor(publisher: ValuePublisher, counter: PollCounter, logger: Logger) {
    this.#publisher = publisher
    this.#counter = counter
    this.#logger = logger
  }

  /**
   * Values of QoS 0 go together and nobody waits for them; everything else one by one, each with its outcome. Resolves with
   * whether the broker, or the outbox, has all that has an outcome; where it has not, the next result says all again.
   */
  async all({ messages, output }: Pick<TargetResult, 'messages' | 'output'>): Promise<boolean> {
    const values: ValueMessage[] = []
    const outcomes: Promise<boolean>[] = []
    for (const message of messages) {
      const { qos, retain = false, properties } = message.options
      if (qos !== 0 || properties !== undefined) outcomes.push(this.one(message))
      else values.push({ topic: message.topic, payload: message.payload, retain })
    }
    if (values.length > 0) {
      this.#counter.published(values.length)
      this.#publisher.publishValues(values)
    }
    const isTaken = outcomes.length === 0 || (await Promise.all(outcomes)).every(Boolean)
    if (!isTaken) output.notTaken()
    return isTaken
  }

  /** Whether it was taken. */
  one({ topic, payload, options }: Outgoing): Promise<boolean> {
    this.#counter.published(1)
    return this.#publisher.publish(topic, payload, options).then(
      () => {
        if (!this.#isPublishing) this.#logger.info({}, 'poll values are published again')
        this.#isPublishing = true
        return true
      },
      (error: unknown) => {
        this.#counter.publishFailed()
        if (this.#isPublishing) this.#logger.warn({ err: error, topic }, 'poll values are not published')
        this.#isPublishing = false
        return false
      },
    )
  }
}
