import { fromErrorShape, RouteMQError } from '../support/errors.js'
import { expectManyListeners } from '../support/many-listeners.js'
import type { ToGateway, ToWorker } from './protocol.js'
import type { Caller } from './services.js'

type Answer = Extract<ToWorker, { type: 'answer' }>

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** The worker's end of calls to the gateway: numbers them, matches answers, cancels, and fails all when IPC closes. */
export class GatewayCaller {
  readonly #send: (message: ToGateway) => void
  readonly #pending = new Map<number, Pending>()
  #nextId = 1
  #closed = false

  constructor(send: (message: ToGateway) => void) {
    this.#send = send
  }

  readonly call: Caller = (method, args, signal) => {
    if (this.#closed) return Promise.reject(gatewayGone())
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    expectManyListeners(signal)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      // Cancelling only asks: the answer still comes, because a write on the wire ends in an outcome, not in silence.
      const cancel = () => this.#send({ type: 'cancel', id })
      const done = () => {
        this.#pending.delete(id)
        signal?.removeEventListener('abort', cancel)
      }
      this.#pending.set(id, {
        resolve: (value) => {
          done()
          resolve(value)
        },
        reject: (error) => {
          done()
          reject(error)
        },
      })
      signal?.addEventListener('abort', cancel, { once: true })
      this.#send({ type: 'call', id, method, args })
    })
  }

  answer(message: Answer): void {
    const pending = this.#pending.get(message.id)
    if (pending === undefined) return
    if (message.ok) pending.resolve(message.value)
    else pending.reject(fromErrorShape(message.error))
  }

  close(): void {
    this.#closed = true
    for (const pending of [...this.#pending.values()]) pending.reject(gatewayGone())
  }
}

function gatewayGone(): RouteMQError {
  return new RouteMQError('WORKER_LOST', 'the gateway process has gone away')
}
