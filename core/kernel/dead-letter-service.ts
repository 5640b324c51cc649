import type { DeadLetterRepository } from '../database/repositories/dead-letters.js'
import type { ClaimOutcome, DeadLetterRecord, StoredMessage } from '../delivery/delivery-store.js'
import type { DeadLetterService, DeadLetterView } from '../http/services.js'
import { fromErrorShape, RouteMQError } from '../support/errors.js'

/** Runs a kept message again in a worker that serves. */
export type Rerun = (message: StoredMessage, force: boolean) => Promise<ClaimOutcome>

/** Dead letters for operators: look, run again, forget. */
export function deadLetterService(letters: DeadLetterRepository, rerun: Rerun): DeadLetterService {
  const known = async (id: string): Promise<DeadLetterRecord> => {
    const letter = await letters.get(id)
    if (letter !== undefined) return letter
    throw new RouteMQError('DEAD_LETTER_UNKNOWN', `there is no dead letter ${id}`, { details: { id } })
  }
  /** Those that are being run again: a second run at the same time would be the command twice. */
  const running = new Set<string>()
  const refuseRunning = (id: string) => {
    if (!running.has(id)) return
    throw new RouteMQError('DEAD_LETTER_BUSY', `the dead letter ${id} is being run again`, { details: { id } })
  }
  return {
    list: async ({ limit, route }) =>
      (await letters.list({ limit, ...(route === undefined ? {} : { route }) })).map((letter) => viewOf(letter)),
    show: async (id) => {
      const letter = await known(id)
      return { ...viewOf(letter), payload: letter.payload, properties: letter.properties }
    },
    async retry(id, { force }) {
      refuseRunning(id)
      running.add(id)
      try {
        const { id: _, error: __, attempts: ___, failedAt: ____, ...message } = await known(id)
        const outcome = await rerun(message, force)
        // It stays where it is until it has succeeded: a retry that fails loses nothing.
        if (!outcome.ok) throw fromErrorShape(outcome.error)
        await letters.remove(id)
      } finally {
        running.delete(id)
      }
    },
    async forget(id) {
      refuseRunning(id)
      await known(id)
      await letters.remove(id)
    },
  }
}

function viewOf({
  id,
  route,
  topic,
  error,
  attempts,
  failedAt,
  receivedAt,
  deadline,
}: DeadLetterRecord): DeadLetterView {
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
