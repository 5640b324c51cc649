import type { Actor, FieldPort, FieldRequest, FieldResponse, WriteOutcome, WriteResult } from '../modbus/field.js'
import type { ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'

/** Failures of a write that say nothing about what the device did with it. */
const UNCERTAIN: ReadonlySet<ErrorCode> = new Set(['WRITE_OUTCOME_UNKNOWN', 'WRITE_PARTIAL', 'WORKER_LOST', 'INTERNAL'])

export interface FieldUseOptions {
  readonly field: FieldPort
  readonly signal: AbortSignal
  readonly deadline: () => number | undefined
  readonly actor: Actor
  /** The claim that this attempt runs under: lets the gateway recognise its writes when it runs again. */
  readonly claim: string | undefined
}

/**
 * The devices as one attempt sees them: adds who asks, until when, and the signal that ends it; remembers whether
 * something was, or may have been, driven. What may have been driven is never repeated by itself.
 */
export class FieldUse implements FieldPort {
  readonly #options: FieldUseOptions
  readonly #pending = new Set<Promise<unknown>>()
  #written = false
  #unknown = false
  #writes = 0

  constructor(options: FieldUseOptions) {
    this.#options = options
  }

  /** `none`: provably nothing reached a device. `unknown` also while a write is still on its way. */
  get outcome(): 'none' | 'written' | 'unknown' {
    if (this.#unknown || this.#pending.size > 0) return 'unknown'
    return this.#written ? 'written' : 'none'
  }

  /** Resolves when no write is on its way. */
  async idle(): Promise<void> {
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending)
  }

  async request<R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>> {
    const { field } = this.#options
    const deadline = this.#options.deadline()
    const joined = this.#join(signal)
    if (request.op !== 'write') return field.request(withDeadline(request, deadline), joined)
    const { actor, claim } = this.#options
    const write = {
      ...withDeadline(request, deadline),
      actor: request.actor ?? actor,
      ...(claim !== undefined && { claim: { key: claim, index: this.#writes++ } }),
    }
    const pending = field.request(write, joined)
    this.#pending.add(pending)
    try {
      const response = await pending
      this.#written = true
      return response
    } catch (error) {
      this.#note(error)
      throw error
    } finally {
      this.#pending.delete(pending)
    }
  }

  #join(signal: AbortSignal | undefined): AbortSignal {
    const own = this.#options.signal
    return signal === undefined || signal === own ? own : AbortSignal.any([signal, own])
  }

  #note(error: unknown): void {
    const outcomes = outcomesIn(error)
    if (outcomes.includes('ok')) this.#written = true
    if (outcomes.includes('unknown')) this.#unknown = true
  }
}

/** True where a failed write provably reached no device, or the device said no. */
export function hasNoEffect(error: unknown): boolean {
  return !outcomesIn(error).some((outcome) => outcome === 'ok' || outcome === 'unknown')
}

/** The outcome of each item of a failed write; without such a list the code has to tell. */
function outcomesIn(error: unknown): readonly WriteOutcome[] {
  const results = error instanceof RouteMQError ? error.details?.results : undefined
  if (Array.isArray(results)) return (results as readonly WriteResult[]).map(({ outcome }) => outcome)
  if (!(error instanceof RouteMQError)) return ['unknown']
  if (error.code === 'REQUEST_CANCELLED') return [error.details?.sent === false ? 'not_sent' : 'unknown']
  return [UNCERTAIN.has(error.code) ? 'unknown' : 'not_sent']
}

function withDeadline<R extends FieldRequest>(request: R, deadline: number | undefined): R {
  if (deadline === undefined || (request.deadline !== undefined && request.deadline <= deadline)) return request
  return { ...request, deadline }
}
