import { nearest } from '../config/nearest.js'
import type { ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'
import type { Middleware, MiddlewareFactory } from './context.js'
import type { MiddlewareRef } from './route-options.js'

/** A middleware ready to run, with what listings show. */
export interface ResolvedMiddleware {
  /** As written: `throttle:100,60`, or the function's name. */
  readonly label: string
  readonly priority: number
  readonly run: Middleware
}

export interface MiddlewareProblem {
  readonly code: ErrorCode
  readonly message: string
}

/** `throttle:100, 60` taken apart: the name, and the arguments as text. */
export function parseMiddlewareName(text: string): { readonly name: string; readonly args: readonly string[] } {
  const colon = text.indexOf(':')
  if (colon < 0) return { name: text.trim(), args: [] }
  const args = text.slice(colon + 1).split(',')
  return { name: text.slice(0, colon).trim(), args: args.map((argument) => argument.trim()) }
}

/**
 * Turns names into functions. One text is one middleware: routes that write `throttle:100,60` share its counters, as
 * they would expect of one limit.
 */
export class MiddlewareBook {
  readonly #factories: Readonly<Record<string, MiddlewareFactory>>
  readonly #made = new Map<string, ResolvedMiddleware | MiddlewareProblem>()

  readonly #services: object | undefined

  constructor(factories: Readonly<Record<string, MiddlewareFactory>>, services: object | undefined) {
    this.#factories = factories
    this.#services = services
  }

  resolve(ref: MiddlewareRef): ResolvedMiddleware | MiddlewareProblem {
    if (typeof ref === 'function') return { label: ref.name === '' ? '(function)' : ref.name, priority: 0, run: ref }
    const known = this.#made.get(ref)
    if (known !== undefined) return known
    const made = this.#make(ref)
    this.#made.set(ref, made)
    return made
  }

  #make(text: string): ResolvedMiddleware | MiddlewareProblem {
    if (typeof text !== 'string') return invalid(`${String(text)} is neither the name of a middleware nor a function`)
    const { name, args } = parseMiddlewareName(text)
    const factory = Object.hasOwn(this.#factories, name) ? this.#factories[name] : undefined
    if (factory === undefined) return { code: 'MIDDLEWARE_UNKNOWN', message: this.#unknown(name) }
    try {
      const { withServices } = factory
      const run =
        withServices === undefined || this.#services === undefined
          ? factory(...args)
          : withServices(this.#services, ...args)
      if (typeof run !== 'function') return invalid(`the middleware "${text}" made no function`)
      return { label: text, priority: factory.priority ?? 0, run }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      return {
        code: error instanceof RouteMQError ? error.code : 'ROUTER_INVALID',
        message: `the middleware "${text}": ${message}`,
      }
    }
  }

  #unknown(name: string): string {
    const known = Object.keys(this.#factories)
    const meant = nearest(name, known)
    if (meant !== undefined) return `there is no middleware "${name}"; did you mean "${meant}"?`
    return `there is no middleware "${name}"; known are ${known.length === 0 ? 'none' : known.sort().join(', ')}`
  }
}

function invalid(message: string): MiddlewareProblem {
  return { code: 'ROUTER_INVALID', message }
}
