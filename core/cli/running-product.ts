import { join } from 'node:path'
import type { RunFile } from '../kernel/run-file.js'
import { readRunFile } from '../kernel/run-file.js'
import { ERROR_CODES, type ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'

const LIMIT_MS = 30_000
/** What devices and workers take their time for: a device may have 300 s for an answer, and restarts go in turn. */
export const LONG_MS = 600_000
/** Failures of a connection that was never made: nothing was sent. */
const NEVER_MADE: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** The product that runs in a folder, as commands talk to it: through its sidecar, with the token of `run.json`. */
export class RunningProduct {
  readonly run: RunFile
  readonly #signal: AbortSignal | undefined

  constructor(run: RunFile, signal?: AbortSignal) {
    this.run = run
    this.#signal = signal
  }

  /**
   * The one that runs for this application, or undefined.
   *
   * @param signal ends its calls, those under way too
   */
  static find(root: string, signal?: AbortSignal): RunningProduct | undefined {
    const run = readRunFile(join(root, '.routemq'))
    return run === undefined ? undefined : new RunningProduct(run, signal)
  }

  /** @throws NOT_RUNNING */
  static need(root: string, signal?: AbortSignal): RunningProduct {
    const product = RunningProduct.find(root, signal)
    if (product !== undefined) return product
    throw new RouteMQError('NOT_RUNNING', `Nothing runs in ${root}: there is no .routemq/run.json of a living process.`)
  }

  /**
   * One call of the sidecar; its answer, parsed. A problem document becomes the error it names.
   *
   * @param limitMs how long the answer may take, 30 s by default
   * @throws NOT_RUNNING where the sidecar is off or does not answer, WRITE_OUTCOME_UNKNOWN where it was asked for a change
   * and its answer was lost or not waited for, REQUEST_CANCELLED where the command was ended and nothing can have changed.
   */
  async call<T>(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
    limitMs: number = LIMIT_MS,
  ): Promise<T> {
    const { http, pid } = this.run
    if (http === null) throw new RouteMQError('NOT_RUNNING', `The sidecar of process ${pid} is switched off.`)
    const what = `${method} ${path.split('?')[0]}`
    if (this.#signal?.aborted) throw new RouteMQError('REQUEST_CANCELLED', `Ended before ${what} was sent.`)
    const limit = AbortSignal.timeout(limitMs)
    let response: Response
    let text: string
    try {
      response = await fetch(http.url + path, {
        method,
        headers: {
          authorization: `Bearer ${http.token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: this.#signal === undefined ? limit : AbortSignal.any([limit, this.#signal]),
      })
      text = await response.text()
    } catch (cause) {
      const { code } = ((cause as Error).cause ?? {}) as { code?: unknown }
      const isEnded = this.#signal?.aborted === true
      if (isEnded && method === 'GET') throw new RouteMQError('REQUEST_CANCELLED', `Ended before ${what} was answered.`)
      if (method === 'GET' || NEVER_MADE.has(code)) {
        throw new RouteMQError('NOT_RUNNING', `The sidecar at ${http.url} does not answer.`, { cause })
      }
      const ending = isEnded ? 'its answer was not waited for' : 'its answer was lost'
      throw new RouteMQError(
        'WRITE_OUTCOME_UNKNOWN',
        `The sidecar at ${http.url} was asked for ${what}, and ${ending}: it may have been done or not. ` +
          'What became of it stands in the audit (GET /api/audit).',
        { cause },
      )
    }
    if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T
    throw problem(text, response.status, `${method} ${path}`)
  }
}

function problem(text: string, status: number, what: string): RouteMQError {
  try {
    const { code, detail, title, details, errors } = JSON.parse(text) as Record<string, unknown>
    if (typeof code === 'string' && Object.hasOwn(ERROR_CODES, code)) {
      const facts = { ...(details as object | undefined), ...(errors === undefined ? {} : { fields: errors }) }
      return new RouteMQError(code as ErrorCode, String(detail ?? title ?? code), { details: facts })
    }
  } catch {
    // No problem document: what came is quoted below.
  }
  return new RouteMQError('INTERNAL', `${what} was answered with ${status}: ${text.slice(0, 200)}`)
}
