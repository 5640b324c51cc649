import { RouteMQError } from '../support/errors.js'

/** One layer: awaits `next()` once or not at all and resolves with the outcome. */
export type Layer<C> = (context: C, next: () => Promise<unknown>) => unknown

/** The last resort for what came out of the layers: returns an outcome, or throws to the next handler out. */
export type ErrorLayer<C> = (error: unknown, context: C) => unknown

export type Chain<C> = (context: C) => Promise<unknown>

export interface ComposeOptions<C> {
  /** Outermost first, as written; the innermost is asked first. */
  readonly onError?: readonly ErrorLayer<C>[]
}

/** What one run of a chain remembers: the first layer that called `next()` twice. */
interface Run {
  twice: RouteMQError | undefined
}

type Step<C> = (context: C, run: Run) => Promise<unknown>

/**
 * Turns layers (outermost first) and a handler into one function. The chain is built here, once; running it allocates
 * one closure a layer. Without layers the handler is called directly.
 *
 * Rejects with what a layer or the handler threw, after every error handler passed it on, and with NEXT_CALLED_TWICE
 * when a layer called `next()` again, even where that layer ignored the second call's outcome.
 */
export function compose<C>(
  layers: readonly Layer<C>[],
  handler: (context: C) => unknown,
  options: ComposeOptions<C> = {},
): Chain<C> {
  const plain = layers.length === 0 ? direct(handler) : layered(layers, handler)
  return (options.onError ?? []).reduceRight((chain, onError) => guarded(chain, onError), plain)
}

function direct<C>(handler: (context: C) => unknown): Chain<C> {
  return (context) => settle(handler, context)
}

function layered<C>(layers: readonly Layer<C>[], handler: (context: C) => unknown): Chain<C> {
  const innermost: Step<C> = (context) => settle(handler, context)
  const outermost = layers.reduceRight((inner, layer) => stepOf(layer, inner), innermost)
  return async (context) => {
    const run: Run = { twice: undefined }
    const outcome = await outermost(context, run)
    if (run.twice !== undefined) throw run.twice
    return outcome
  }
}

function stepOf<C>(layer: Layer<C>, inner: Step<C>): Step<C> {
  return (context, run) => {
    let called = false
    // Not `async`: each layer would pay for one more promise.
    try {
      // Without a name: run from source, tsx defines the name of each named closure anew, eight times the cost of the rest.
      const outcome = layer(context, () => {
        if (called) return refuseSecond(layer, run)
        called = true
        return inner(context, run)
      })
      return outcome instanceof Promise ? outcome : Promise.resolve(outcome)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}

function refuseSecond(layer: { readonly name: string }, run: Run): Promise<never> {
  const name = layer.name === '' ? 'an anonymous middleware' : layer.name
  const error = new RouteMQError('NEXT_CALLED_TWICE', `${name} called next() twice`, { details: { middleware: name } })
  run.twice ??= error
  const refused = Promise.reject(error)
  // Whoever does not await the second call must not turn it into an unhandled rejection; the run itself reports it.
  refused.catch(() => undefined)
  return refused
}

function guarded<C>(chain: Chain<C>, onError: ErrorLayer<C>): Chain<C> {
  return async (context) => {
    try {
      return await chain(context)
    } catch (error) {
      return await onError(error, context)
    }
  }
}

function settle<C>(handler: (context: C) => unknown, context: C): Promise<unknown> {
  try {
    const outcome = handler(context)
    return outcome instanceof Promise ? outcome : Promise.resolve(outcome)
  } catch (error) {
    return Promise.reject(error)
  }
}
