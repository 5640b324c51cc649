import type { Publisher } from '../mqtt/message.js'
import { mayAnswer } from '../mqtt/reply-topic.js'
import type { Logger } from '../observability/logger.js'
import { Backoff } from '../support/backoff.js'
import { type Clock, sleep } from '../support/clock.js'
import { ERROR_CODES, type ErrorCode } from '../support/error-codes.js'
import type { ErrorShape } from '../support/errors.js'
import type { DeadLetter, DeliveryStore } from './delivery-store.js'
import type { DeliveryStats } from './stats.js'

/** Turned away at the door: kept, they would let a stranger fill the dead letters. */
const REFUSED: ReadonlySet<ErrorCode> = new Set([
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'THROTTLED',
  'PAYLOAD_TOO_LARGE',
  'PROPERTIES_TOO_LARGE',
])
const ANNOUNCEMENT_EXPIRES_MS = 60_000

/**
 * Whether a failure is kept for a person. Not where the sender was at fault (a 4xx code) and has been told so: that is
 * settled between the two.
 */
export function isDeadLetter(topic: string, error: ErrorShape, answered: boolean): boolean {
  if (!mayAnswer(topic) || REFUSED.has(error.code)) return false
  return !(answered && ERROR_CODES[error.code].status < 500)
}

export interface DeadLettersOptions {
  readonly store: DeliveryStore
  readonly publisher: Publisher
  readonly logger: Logger
  readonly clock: Clock
  readonly random: () => number
  readonly stats: DeliveryStats
  readonly withPayload: boolean
}

export class DeadLetters {
  readonly #options: DeadLettersOptions

  constructor(options: DeadLettersOptions) {
    this.#options = options
  }

  /**
   * Keeps the letter, then announces it. Goes on trying while the store fails, because the message may not be
   * acknowledged before; rejects only with the reason of `signal`. A letter
   * that is kept again under its `id` is kept once.
   */
  async keep(given: DeadLetter, signal: AbortSignal, id?: string): Promise<void> {
    const { store, logger, clock, random, stats } = this.#options
    const backoff = new Backoff({ random })
    let letter = given
    for (;;) {
      signal.throwIfAborted()
      try {
        await store.deadLetter(letter, id)
        break
      } catch (error) {
        logger.error(
          { route: letter.route, topic: letter.topic, err: error },
          'a dead letter could not be kept; its message stays unacknowledged',
        )
        if (isUncarriable(error)) letter = withoutStrangers(letter)
        await sleep(backoff.next(), signal, clock)
      }
    }
    stats.count('dead_lettered')
    const { route, topic, error, attempts } = letter
    logger.warn({ route, topic, code: error.code, attempts, reason: error.message }, 'message went to the dead letters')
    this.#announce(letter)
  }

  /** Without the payload unless told: who may hear of a failure need not be allowed to see the message. */
  #announce({ route, topic, error, attempts, failedAt, payload }: DeadLetter): void {
    const { publisher, logger, withPayload } = this.#options
    const facts = { route, topic, error, attempts, failed_at: new Date(failedAt).toISOString() }
    const notice = JSON.stringify(withPayload ? { ...facts, payload_base64: payload } : facts)
    publisher
      .publish(`routemq/dead/${topic}`, notice, { qos: 1, expiresInMs: ANNOUNCEMENT_EXPIRES_MS })
      .catch((cause: unknown) => logger.debug({ topic, err: cause }, 'a dead letter could not be announced'))
  }
}

/** JSON, or a message between processes, cannot carry the letter: it never will. */
function isUncarriable(error: unknown): boolean {
  return error instanceof Error && (error instanceof TypeError || error.name === 'DataCloneError')
}

/** Without what route code put into it. */
function withoutStrangers({ auth: _, error: { code, message }, ...letter }: DeadLetter): DeadLetter {
  return { ...letter, error: { code, message } }
}
