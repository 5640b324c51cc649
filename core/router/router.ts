import type { ZodType } from 'zod'
import { RouteMQError } from '../support/errors.js'
import { openBook, type RouterBook } from './book.js'
import { type CommitOptions, commitRouters } from './commit.js'
import type { Params, ParamValue } from './context.js'
import { type AnyHandler, define, enterGroup, ROOT_SCOPE, type Scope } from './definition.js'
import type { Join, ParamsOf } from './pattern-types.js'
import type { CodecName, Dispatcher } from './route.js'
import type { RouteNames } from './route-names.js'
import type { GroupOptions, PayloadOf, RouteHandler, RouteOptions } from './route-options.js'
import { buildTopic } from './topic.js'

/** Parameters as `topic()` takes them: an `int` also as text, where a pattern is known only by name. */
export type TopicParams<Name extends string> = Name extends keyof RouteNames
  ? RouteNames[Name] extends string
    ? ParamsOf<RouteNames[Name]>
    : Params
  : Readonly<Record<string, ParamValue>>

/** A registered route, able to name its topics: `control.topic({ device_id: 42 })`. */
export interface RouteRef<Text extends string = string> {
  readonly pattern: Text
  /** Throws TOPIC_INVALID for a missing, empty or unfit parameter. */
  topic(params: { readonly [K in keyof ParamsOf<Text>]: ParamsOf<Text>[K] | ParamValue }): string
}

/** The inside of a group: registers routes and further groups under its prefix. */
export interface RouteGroup<Prefix extends string = ''> {
  /** Registers a route. Mistakes are reported together at `commit()`; after it: ROUTER_COMMITTED. */
  on<
    const Text extends string,
    Schema extends ZodType | undefined = undefined,
    Codec extends CodecName | undefined = undefined,
    T extends object = object,
  >(
    pattern: Text,
    handler: RouteHandler<ParamsOf<Join<Prefix, Text>>, PayloadOf<Schema, Codec>, T>,
    options?: RouteOptions<Schema, Codec, keyof ParamsOf<Join<Prefix, Text>> & string>,
  ): RouteRef<Join<Prefix, Text>>

  /** Everything registered inside `register` gets the prefix, the name and the options, under what it says itself. */
  group<const Inner extends string = ''>(
    options: GroupOptions<Inner>,
    register: (group: RouteGroup<Join<Prefix, Inner>>) => void,
  ): void
}

/** Routes of one domain: a file in `routers/` exports one as its default. */
export class Router implements RouteGroup {
  readonly on: RouteGroup['on']
  readonly group: RouteGroup['group']
  readonly #book: RouterBook

  constructor() {
    this.#book = openBook(this)
    const root = registrar(this.#book, ROOT_SCOPE)
    this.on = root.on
    this.group = root.group
  }

  /**
   * The topic of a named route of this router: `topic('devices.control', { device_id: 42 })`. What may not stand in a
   * level is escaped. Throws ROUTE_UNKNOWN and TOPIC_INVALID.
   */
  topic<const Name extends string>(name: Name, params: TopicParams<Name>): string {
    const found = this.#book.definitions.find((definition) => definition.name === name)
    if (found === undefined) throw new RouteMQError('ROUTE_UNKNOWN', `this router has no route named "${name}"`)
    return buildTopic(found.pattern, params)
  }

  /** Commits this router alone, for tests and small programs; applications load folders and use `commitRouters`. */
  commit(options: Partial<CommitOptions> & { readonly file?: string } = {}): Dispatcher {
    const { file = 'router', middleware = {}, ...rest } = options
    return commitRouters([{ router: this, file }], { middleware, ...rest })
  }
}

function registrar(book: RouterBook, scope: Scope): RouteGroup<string> & RouteGroup {
  const refuseLate = () => {
    if (!book.committed) return
    throw new RouteMQError('ROUTER_COMMITTED', 'this router is committed; register routes while its file loads')
  }
  const group = {
    on(pattern: string, handler: unknown, options: RouteOptions = {}): RouteRef {
      refuseLate()
      const definition = define(scope, pattern, handler as AnyHandler, options)
      book.definitions.push(definition)
      return { pattern: definition.pattern, topic: (params) => buildTopic(definition.pattern, params) }
    },
    group(options: GroupOptions, register: (group: RouteGroup<string>) => void): void {
      refuseLate()
      register(registrar(book, enterGroup(scope, options)))
    },
  }
  return group as unknown as RouteGroup<string> & RouteGroup
}
