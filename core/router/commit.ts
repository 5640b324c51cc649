import { RouteMQError } from '../support/errors.js'
import { bookOf } from './book.js'
import type { MiddlewareFactory } from './context.js'
import { Controllers } from './controllers.js'
import { explainRoutes } from './explain.js'
import { MiddlewareBook } from './middleware-ref.js'
import { type RouteProblem, throwProblems } from './problems.js'
import { type ResolvedRoute, resolveRoute } from './resolve-route.js'
import type { Dispatcher, Route } from './route.js'
import type { Router } from './router.js'
import { sharingProblems } from './sharing.js'
import { TopicTrie } from './topic-trie.js'

/** A router and the file it came from, relative to the application. */
export interface LoadedRouter {
  readonly router: Router
  readonly file: string
}

export interface CommitOptions {
  /** Factories by name: what `middleware: ['throttle:100,60']` refers to. */
  readonly middleware: Readonly<Record<string, MiddlewareFactory>>
  /**
   * What controllers may ask for in `static inject`. Left out or empty, routes can be listed and matched, and controllers
   * that ask for something are not made.
   */
  readonly services?: object
  /** Makes what a route runs instead, for traces. */
  readonly around?: ((route: Route) => Route['run']) | undefined
}

/**
 * Checks every route of every router and hands out the frozen dispatcher. Throws all mistakes at once: ROUTER_INVALID,
 * ROUTE_PATTERN_INVALID, ROUTE_CLASH, MIDDLEWARE_UNKNOWN; and ROUTER_COMMITTED for a router that was committed before.
 */
export function commitRouters(routers: readonly LoadedRouter[], options: CommitOptions): Dispatcher {
  const { middleware } = options
  const services = Object.keys(options.services ?? {}).length === 0 ? undefined : options.services
  const parts = { middleware: new MiddlewareBook(middleware, services), controllers: new Controllers(services) }
  const problems: RouteProblem[] = []
  const resolved: ResolvedRoute[] = []
  const books = routers.map(({ router, file }) => openedBook(router, file))
  for (const [index, book] of books.entries()) {
    for (const definition of book.definitions) {
      const outcome = resolveRoute(definition, routers[index]!.file, parts)
      if ('route' in outcome) resolved.push(surrounded(outcome, options.around))
      else problems.push(...outcome)
    }
  }
  const routes = Object.freeze(resolved.map(({ route }) => route))
  problems.push(...duplicateIds(routes), ...sharingProblems(routes))
  throwProblems(problems)
  for (const book of books) book.committed = true
  return dispatcherOf(resolved, routes)
}

function surrounded(resolved: ResolvedRoute, around: CommitOptions['around']): ResolvedRoute {
  if (around === undefined) return resolved
  const { route } = resolved
  return { ...resolved, route: Object.freeze({ ...route, run: around(route) }) }
}

function dispatcherOf(resolved: readonly ResolvedRoute[], routes: readonly Route[]): Dispatcher {
  const trie = new TopicTrie()
  for (const { pattern, route } of resolved) trie.add(pattern, route)
  return Object.freeze({
    routes,
    match: (topic: string) => trie.match(topic),
    explain: (topic: string) => explainRoutes(routes, topic, trie.match(topic)),
  })
}

function openedBook(router: Router, file: string) {
  const book = bookOf(router)
  if (book === undefined) throw new RouteMQError('ROUTER_INVALID', `${file} gives no Router`)
  if (book.committed) throw new RouteMQError('ROUTER_COMMITTED', `the router of ${file} was committed before`)
  return book
}

/** Records, replies and the idempotency keys refer to a route by its id, so two may not have one. */
function duplicateIds(routes: readonly Route[]): RouteProblem[] {
  const first = new Map<string, Route>()
  const problems: RouteProblem[] = []
  for (const route of routes) {
    const other = first.get(route.id)
    if (other === undefined) {
      first.set(route.id, route)
      continue
    }
    const message =
      route.name === undefined
        ? 'two routes have this pattern; give one of them a name'
        : `two routes have this name (${other.pattern} and ${route.pattern})`
    problems.push({ code: 'ROUTE_CLASH', files: [other.file, route.file], route: route.id, message })
  }
  return problems
}
