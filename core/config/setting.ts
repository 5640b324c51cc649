import type { Kind } from './kinds.js'

/** What a change of a setting needs while the product runs. */
export type Effect = 'live' | 'workers' | 'restart'

/** One setting: where it stands in a configuration file, the names it has in the environment, and what it means. */
export interface Setting<T> {
  /** Place in `routemq.config.*`: `http.port`. */
  readonly path: string
  /** Names in the environment and `.env`; the first is ours, the others are known from elsewhere and mean the same. */
  readonly names: readonly [string, ...string[]]
  readonly kind: Kind<T>
  /** Undefined: nothing is assumed, the part that reads it decides. */
  readonly fallback: T | undefined
  /** Never shown; `file`: also read from the file that `NAME_FILE` names. */
  readonly secret: false | 'file' | 'text'
  readonly effect: Effect
  /** One sentence for the reference and `config:show`. */
  readonly about: string
}

type Facts<T> = Pick<Setting<T>, 'path' | 'names' | 'kind' | 'about'> &
  Partial<Pick<Setting<T>, 'secret' | 'effect'>> & { readonly fallback?: NoInfer<T> }

/** A setting with what most of them have: it is no secret, and its change needs a restart. */
export const setting = <T>(facts: Facts<T>): Setting<T> => ({
  secret: false,
  effect: 'restart',
  ...facts,
  fallback: facts.fallback,
})

export const KIB = 2 ** 10
export const MIB = 2 ** 20
export const GIB = 2 ** 30
