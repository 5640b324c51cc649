import type { FieldPort, FieldRequest, FieldResponse } from '../modbus/field.js'
import { RouteMQError } from '../support/errors.js'
import { hasNoEffect } from './field-use.js'

type Write = Extract<FieldRequest, { op: 'write' }>

/** A write of a handler that runs under a claim: which claim, and the how-manieth write of that run. */
export interface WriteClaim {
  readonly key: string
  readonly index: number
}

export type ClaimedWrite = Write & { readonly claim?: WriteClaim }

interface Entry {
  readonly content: string
  readonly answer: Promise<unknown>
}

/**
 * What was written under each claim, in the gateway's memory. When a worker dies between a write and the end of its
 * command, the command runs again elsewhere; a write that it did before is then answered from here and does not reach
 * the device a second time.
 */
export class WriteJournal {
  readonly #claims = new Map<string, Map<number, Entry>>()

  get size(): number {
    return this.#claims.size
  }

  /** The claim has ended. */
  forget(key: string): void {
    this.#claims.delete(key)
  }

  /** The devices, with the journal in front of them. */
  guard(field: FieldPort): FieldPort {
    return {
      request: <R extends FieldRequest>(request: R, signal?: AbortSignal) =>
        this.#request(field, request, signal) as Promise<FieldResponse<R>>,
    }
  }

  #request(field: FieldPort, request: FieldRequest, signal: AbortSignal | undefined): Promise<unknown> {
    if (request.op !== 'write' || !('claim' in request)) return field.request(request, signal)
    const { claim, ...write } = request as ClaimedWrite
    if (claim === undefined) return field.request(write, signal)
    const content = JSON.stringify([write.device_id, write.items])
    const writes = this.#claims.get(claim.key) ?? new Map<number, Entry>()
    this.#claims.set(claim.key, writes)
    const before = writes.get(claim.index)
    if (before !== undefined) {
      if (before.content === content) return before.answer
      return Promise.reject(
        new RouteMQError('WRITE_OUTCOME_UNKNOWN', 'the command was started before and now writes something else', {
          details: { device_id: write.device_id },
        }),
      )
    }
    const answer = field.request(write, withoutLoss(signal))
    writes.set(claim.index, { content, answer })
    answer.catch((error: unknown) => {
      // It provably did nothing: the next run may send it.
      if (hasNoEffect(error)) writes.delete(claim.index)
    })
    return answer
  }
}

/**
 * A write of a worker that died goes on: the command runs again and takes its answer, which an abort on the wire would
 * turn into `unknown`. Every other reason ends it.
 */
function withoutLoss(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined) return undefined
  const own = new AbortController()
  const forward = () => {
    const { reason } = signal
    if (!(reason instanceof RouteMQError && reason.code === 'WORKER_LOST')) own.abort(reason)
  }
  if (signal.aborted) own.abort(signal.reason)
  else signal.addEventListener('abort', forward, { once: true })
  return own.signal
}
