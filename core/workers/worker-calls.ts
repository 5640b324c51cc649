import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { ToGateway, ToWorker } from './protocol.js'
import { dispatchCall, type GatewayServices } from './services.js'

/** What one worker process asks of the gateway. Call ids start over with each process, so each has a table of its own. */
export class WorkerCalls {
  readonly #open = new Map<number, AbortController>()
  readonly #services: () => GatewayServices
  readonly #answer: (answer: Extract<ToWorker, { type: 'answer' }>) => void

  constructor(services: () => GatewayServices, answer: (answer: Extract<ToWorker, { type: 'answer' }>) => void) {
    this.#services = services
    this.#answer = answer
  }

  async serve({ id, method, args }: Extract<ToGateway, { type: 'call' }>): Promise<void> {
    const abort = new AbortController()
    this.#open.set(id, abort)
    try {
      const value = await dispatchCall(this.#services(), method, args, abort.signal)
      this.#answer({ type: 'answer', id, ok: true, value })
    } catch (error) {
      this.#answer({ type: 'answer', id, ok: false, error: toErrorShape(error) })
    } finally {
      this.#open.delete(id)
    }
  }

  cancel(id: number): void {
    this.#open.get(id)?.abort(new RouteMQError('HANDLER_TIMEOUT', 'the handler gave up waiting'))
  }

  /** The process is gone: what it still asked for is not done. */
  lose(worker: string): void {
    for (const call of this.#open.values()) call.abort(new RouteMQError('WORKER_LOST', `worker ${worker} is gone`))
    this.#open.clear()
  }
}
