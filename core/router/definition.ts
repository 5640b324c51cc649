import type { ErrorHandler, Handler } from './context.js'
import type { GroupOptions, InheritedOptions, MiddlewareRef, RouteOptions } from './route-options.js'

/** A handler as it was registered, its types erased. */
export type AnyHandler = Handler | readonly [controller: new (services: object) => object, method: string]

/** A route as it was written: nothing checked, groups joined. */
export interface RouteDefinition {
  readonly pattern: string
  /** Mistakes seen while joining, reported at `commit()`. */
  readonly problems: readonly string[]
  readonly name: string | undefined
  readonly handler: AnyHandler
  /** The route's options over those of its groups, the nearest first. */
  readonly options: Omit<RouteOptions, 'name' | 'middleware' | 'onError'>
  readonly middleware: readonly MiddlewareRef[]
  readonly onError: readonly ErrorHandler[]
}

/** What the groups around a place hand down. */
export interface Scope {
  readonly prefix: string
  readonly name: string
  readonly options: Omit<InheritedOptions, 'middleware' | 'onError'>
  readonly middleware: readonly MiddlewareRef[]
  readonly onError: readonly ErrorHandler[]
  readonly problems: readonly string[]
}

export const ROOT_SCOPE: Scope = { prefix: '', name: '', options: {}, middleware: [], onError: [], problems: [] }

/** Options of groups and routes alike. */
export const INHERITED_KEYS = [
  'middleware',
  'qos',
  'shared',
  'workers',
  'worker_count',
  'lane',
  'maxAge',
  'onError',
] as const satisfies readonly (keyof InheritedOptions)[]
const GROUP_KEYS: readonly string[] = [...INHERITED_KEYS, 'prefix', 'name']

export function enterGroup(outer: Scope, options: GroupOptions): Scope {
  const { prefix = '', name = '', middleware = [], onError, ...rest } = options
  const joined = join(outer.prefix, prefix)
  const unknown = Object.keys(options).filter((key) => !GROUP_KEYS.includes(key))
  return {
    prefix: joined.text,
    name: outer.name + name,
    options: inherit(outer.options, rest),
    middleware: [...outer.middleware, ...asList(middleware)],
    onError: onError === undefined ? outer.onError : [...outer.onError, onError],
    problems: [
      ...outer.problems,
      ...joined.problems,
      ...(prefix.endsWith('/') ? [`the prefix "${prefix}" ends with "/"; the router puts one between`] : []),
      ...unknown.map((key) => `a group has no option "${key}"`),
    ],
  }
}

export function define(scope: Scope, pattern: string, handler: AnyHandler, options: RouteOptions): RouteDefinition {
  const { name, middleware = [], onError, ...rest } = options
  const joined = join(scope.prefix, pattern)
  return {
    pattern: joined.text,
    problems: [...scope.problems, ...joined.problems],
    name: name === undefined ? undefined : scope.name + name,
    handler,
    options: inherit(scope.options, rest),
    middleware: [...scope.middleware, ...asList(middleware)],
    onError: onError === undefined ? scope.onError : [...scope.onError, onError],
  }
}

/** `workers` and `worker_count` are one option: the inner word replaces both outer ones. */
function inherit<T extends InheritedOptions>(outer: InheritedOptions, inner: T): T {
  if (inner.workers === undefined && inner.worker_count === undefined) return { ...outer, ...inner }
  const { workers: _, worker_count: __, ...others } = outer
  return { ...others, ...inner }
}

function asList(middleware: readonly MiddlewareRef[]): readonly MiddlewareRef[] {
  // A bare name is an easy slip in plain JavaScript, and spreading a string would give its letters.
  return typeof middleware === 'string' ? [middleware] : middleware
}

function join(prefix: string, text: string): { readonly text: string; readonly problems: readonly string[] } {
  if (prefix === '' || text === '') return { text: prefix + text, problems: [] }
  const problems = text.startsWith('/')
    ? [`"${text}" begins with "/" inside "${prefix}"; the router puts one between`]
    : []
  return { text: `${prefix}/${text}`, problems }
}
