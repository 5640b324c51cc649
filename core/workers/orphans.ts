import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import type { RouteWorker } from './route-worker.js'
import type { SessionBook } from './session-book.js'

const AGAIN_MS = 1_000

export interface OrphansOptions {
  readonly worker: Pick<RouteWorker, 'sessions' | 'adopt'>
  readonly book: SessionBook
  readonly logger: Logger
  readonly clock: Clock
  /** The process goes on. */
  readonly lives: () => boolean
}

/** One process instead of workers: what earlier workers left at the broker is drained here, until nothing is left. */
export async function adoptOrphans(options: OrphansOptions): Promise<void> {
  const { worker, book, logger, clock, lives } = options
  const own = new Set(worker.sessions.map(({ clientId }) => clientId))
  let left = 0
  for (const session of book.all().filter(({ clientId }) => !own.has(clientId))) {
    if (!lives()) return
    try {
      const outcome = await worker.adopt(session)
      logger.info({ lane: session.lane, outcome }, 'the session that nobody opened')
      if (outcome === 'drained') book.ended([session.clientId])
      else left += 1
    } catch (error) {
      logger.warn({ lane: session.lane, err: error }, 'the session that nobody opened cannot be opened; tried again')
      left += 1
    }
  }
  if (left > 0 && lives()) clock.after(AGAIN_MS, () => void adoptOrphans(options), { unref: true })
}
