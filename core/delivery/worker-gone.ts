import { RouteMQError } from '../support/errors.js'

/** The answer to a process that is no more. */
export function workerGone(worker: string): RouteMQError {
  return new RouteMQError('WORKER_LOST', `worker ${worker} ended before it could be answered`)
}
