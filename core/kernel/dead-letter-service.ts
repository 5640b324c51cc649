import { randomUUID } from 'node:crypto'
import type { DeadLetterRepository } from '../database/repositories/dead-letters.js'
import type { ClaimOutcome, DeadLetterHead, StoredMessage } from '../delivery/delivery-store.js'
import type { DeadLetterService, DeadLetterView } from '../http/services/runtime.js'
import { fromErrorShape, RouteMQError } from '../support/errors.js'

/** Runs a kept message again in a worker that serves. */
export type Rerun = (message: StoredMessage, force: boolean) => Promise<ClaimOutcome>

/** How long a letter stays claimed by a gateway that ended while it ran it, milliseconds. */
const TERM_MS = 60_000
/** Claims are held a few times a term: one that the database does not take in time loses nothing. */
const KEEPS_A_TERM = 4

/**
 * Dead letters for operators: look, run again, forget. A letter that runs is claimed in the database: to run it at the same
 * time in another gateway would be the command twice.
 */
export function deadLetterService(
  letters: DeadLetterRepository,
  rerun: Rerun,
  { termMs = TERM_MS }: { readonly termMs?: number } = {},
): DeadLetterService {
  return {
    list: async ({ limit, route }) =>
      (await letters.list({ limit, ...(route === undefined ? {} : { route }) })).map((letter) => viewOf(letter)),
    show: async (id) => {
      const letter = await letters.get(id)
      if (letter === undefined) throw unknown(id)
      return { ...viewOf(letter), payload: letter.payload, properties: letter.properties }
    },
    async retry(id, { force }) {
      const runner = randomUUID()
      const letter = await letters.claim(id, runner, termMs)
      if (letter === undefined) throw unknown(id)
      if (letter === 'busy') throw busy(id)
      const keeping = setInterval(() => {
        // The next one may get there; until the term is over nobody else runs it.
        letters.keep(id, runner, termMs).catch(() => {})
      }, termMs / KEEPS_A_TERM)
      try {
        const { id: _, error: __, attempts: ___, failedAt: ____, ...message } = letter
        const outcome = await rerun(message, force)
        if (!outcome.ok) throw fromErrorShape(outcome.error)
      } catch (error) {
        // It stays where it is: a retry that fails loses nothing. Where it cannot be given back, its term ends.
        await letters.release(id, runner).catch(() => {})
        throw error
      } finally {
        clearInterval(keeping)
      }
      await letters.remove(id).catch((cause: unknown) => {
        const message = `the dead letter ${id} has run, but could not be removed: forget it, or it may run again`
        throw new RouteMQError('DATABASE_UNAVAILABLE', message, { details: { id }, cause })
      })
    },
    async forget(id) {
      const removed = await letters.forget(id)
      if (removed === 'busy') throw busy(id)
      if (!removed) throw unknown(id)
    },
  }
}

function unknown(id: string): RouteMQError {
  return new RouteMQError('DEAD_LETTER_UNKNOWN', `there is no dead letter ${id}`, { details: { id } })
}

function busy(id: string): RouteMQError {
  return new RouteMQError('DEAD_LETTER_BUSY', `the dead letter ${id} is being run again`, { details: { id } })
}

function viewOf({ id, route, topic, error, attempts, failedAt, receivedAt, deadline }: DeadLetterHead): DeadLetterView {
  return {
    id,
    route,
    topic,
    error: { ...error },
    attempts,
    failed_at: new Date(failedAt).toISOString(),
    received_at: new Date(receivedAt).toISOString(),
    deadline: deadline === undefined ? null : new Date(deadline).toISOString(),
  }
}
