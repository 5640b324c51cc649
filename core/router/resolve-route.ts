import { nearest } from '../config/nearest.js'
import { compose } from '../pipeline/compose.js'
import { parseDuration } from '../support/duration.js'
import type { ErrorCode } from '../support/error-codes.js'
import type { Context, Handler, RouteMarks } from './context.js'
import type { Controllers } from './controllers.js'
import { type AnyHandler, INHERITED_KEYS, type RouteDefinition } from './definition.js'
import type { MiddlewareBook, ResolvedMiddleware } from './middleware-ref.js'
import { type Pattern, parsePattern } from './pattern.js'
import type { RouteProblem } from './problems.js'
import type { CodecName, Route } from './route.js'
import { validatePayload } from './validate-payload.js'

export interface ResolvedRoute {
  readonly route: Route
  readonly pattern: Pattern
}

const OPTION_KEYS = [
  'name',
  ...INHERITED_KEYS,
  'concurrency',
  'retained',
  'orderBy',
  'attempts',
  'backoff',
  'timeout',
  'payload',
  'codec',
  'reply',
  'idempotent',
] as const
const CODECS: readonly CodecName[] = ['json', 'raw', 'text', 'msgpack', 'cbor']
const DEFAULT_CONCURRENCY = 16
const DEFAULT_ATTEMPTS = 3
const MAX_WORKERS = 1024
/** The planner names lanes of its own so. */
const RESERVED_LANE = /^(?:shared|ordered)(?:-|$)/

/** Checks one definition and fills in its defaults. Returns what is wrong with it instead, all of it. */
export function resolveRoute(
  definition: RouteDefinition,
  file: string,
  parts: { readonly middleware: MiddlewareBook; readonly controllers: Controllers },
): ResolvedRoute | readonly RouteProblem[] {
  const problems: RouteProblem[] = []
  const report = (code: ErrorCode, message: string) =>
    problems.push({ code, files: [file], route: definition.name ?? definition.pattern, message })
  const invalid = (message: string) => report('ROUTER_INVALID', message)

  const pattern = parsePattern(definition.pattern)
  if (typeof pattern === 'string') report('ROUTE_PATTERN_INVALID', pattern)
  for (const problem of definition.problems) report('ROUTE_PATTERN_INVALID', problem)
  checkOptions(definition, typeof pattern === 'string' ? undefined : pattern, invalid)
  const handler = resolveHandler(definition.handler, parts.controllers)
  if (typeof handler === 'string') invalid(handler)
  const chain: ResolvedMiddleware[] = []
  for (const ref of definition.middleware) {
    const resolved = parts.middleware.resolve(ref)
    if ('run' in resolved) chain.push(resolved)
    else report(resolved.code, resolved.message)
  }
  if (problems.length > 0 || typeof pattern === 'string' || typeof handler === 'string') return problems
  return { pattern, route: build(definition, file, pattern, handler, chain) }
}

function build(
  definition: RouteDefinition,
  file: string,
  pattern: Pattern,
  handler: Handler,
  chain: readonly ResolvedMiddleware[],
): Route {
  const { options } = definition
  // Sorting is stable: equal priorities keep the order they were written in.
  const sorted = chain.toSorted((one, other) => other.priority - one.priority)
  const marks: RouteMarks = Object.assign({}, ...sorted.map(({ run }) => run.marks))
  const qos = options.qos ?? 1
  const innermost =
    marks.validates === true || options.payload === undefined ? handler : validated(handler, options.payload)
  return Object.freeze({
    id: definition.name ?? pattern.text,
    name: definition.name,
    pattern: pattern.text,
    filter: pattern.filter,
    qos: qos === 2 ? 1 : qos,
    idempotent: options.idempotent ?? (qos === 2 || marks.idempotent === true),
    shared: options.shared ?? false,
    workers: options.workers ?? options.worker_count ?? 1,
    concurrency: options.concurrency ?? DEFAULT_CONCURRENCY,
    lane: options.lane ?? 'default',
    maxAgeMs: options.maxAge === undefined ? undefined : parseDuration(options.maxAge),
    retained: options.retained ?? false,
    orderBy: options.orderBy,
    attempts: options.attempts ?? DEFAULT_ATTEMPTS,
    backoff: Object.freeze({ ...options.backoff }),
    timeoutMs: options.timeout === undefined ? marks.timeoutMs : parseDuration(options.timeout),
    reply: options.reply ?? false,
    codec: options.codec,
    payload: options.payload,
    middleware: Object.freeze(sorted.map(({ label }) => label)),
    handlerName: nameOf(definition.handler),
    file,
    run: compose<Context>(
      sorted.map(({ run }) => run),
      innermost,
      { onError: definition.onError },
    ),
    screen: screenOf(sorted),
  })
}

function screenOf(chain: readonly ResolvedMiddleware[]): Route['screen'] {
  const guards = chain.filter(({ run }) => run.marks?.authenticates === true).map(({ run }) => run)
  return guards.length === 0 ? undefined : compose<Context>(guards, () => undefined)
}

function validated(handler: Handler, schema: NonNullable<Route['payload']>): Handler {
  return (ctx) => {
    const payload = validatePayload(schema, ctx.payload)
    if (payload instanceof Promise) {
      return payload.then((value) => {
        ctx.payload = value
        return handler(ctx)
      })
    }
    ctx.payload = payload
    return handler(ctx)
  }
}

function resolveHandler(handler: AnyHandler, controllers: Controllers): Handler | string {
  if (typeof handler === 'function') return handler
  if (Array.isArray(handler) && handler.length === 2) return controllers.handler(handler[0], handler[1])
  return 'the handler must be a function or [Controller, "method"]'
}

function nameOf(handler: AnyHandler): string {
  if (typeof handler === 'function') return handler.name === '' ? '(function)' : handler.name
  return `${handler[0].name}.${handler[1]}`
}

function checkOptions(
  definition: RouteDefinition,
  pattern: Pattern | undefined,
  invalid: (message: string) => void,
): void {
  const { options } = definition
  for (const key of Object.keys(options)) {
    if ((OPTION_KEYS as readonly string[]).includes(key)) continue
    const meant = nearest(key, OPTION_KEYS)
    invalid(`a route has no option "${key}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`)
  }
  const { qos, workers, worker_count, concurrency, attempts, lane, maxAge, timeout, orderBy, codec, payload } = options
  if (qos !== undefined && ![0, 1, 2].includes(qos)) invalid(`qos is 0, 1 or 2, not ${show(qos)}`)
  if (workers !== undefined && worker_count !== undefined && workers !== worker_count) {
    invalid(`workers (${workers}) and worker_count (${worker_count}) are one option and differ`)
  }
  checkCount('workers', workers ?? worker_count, MAX_WORKERS, invalid)
  checkCount('concurrency', concurrency, 65_535, invalid)
  checkCount('attempts', attempts, 1_000, invalid)
  if (lane !== undefined && !/^[a-z0-9][a-z0-9-]{0,31}$/i.test(lane)) {
    invalid(`a lane is named with up to 32 letters, digits and "-", not ${show(lane)}`)
  } else if (lane !== undefined && RESERVED_LANE.test(lane)) {
    invalid(`the lane name "${lane}" is kept for the planner; choose another`)
  }
  for (const [name, value] of [
    ['maxAge', maxAge],
    ['timeout', timeout],
  ] as const) {
    const parsed = value === undefined ? 1 : parseDuration(value)
    if (parsed === undefined || parsed <= 0)
      invalid(`${name} is a time such as "30s" or milliseconds above 0, not ${show(value)}`)
  }
  if (codec !== undefined && !CODECS.includes(codec))
    invalid(`codec is one of ${CODECS.join(', ')}, not ${show(codec)}`)
  if (payload !== undefined && typeof payload?.safeParse !== 'function') invalid('payload must be a zod schema')
  const count = workers ?? worker_count ?? 1
  if (count > 1 && options.shared !== true) {
    invalid(`workers ${count} needs \`shared: true\`: each process would run each message of a plain route`)
  }
  if (definition.name === '') invalid('a name is not empty')
  if (orderBy === undefined) return
  if (pattern !== undefined && !pattern.params.includes(orderBy)) {
    const known = pattern.params.length === 0 ? 'the pattern has none' : `it has ${pattern.params.join(', ')}`
    invalid(`orderBy names no parameter: "${orderBy}"; ${known}`)
  }
  if (count > 1) invalid(`orderBy needs workers 1, not ${count}: a broker deals shared messages without regard to keys`)
}

function checkCount(name: string, value: number | undefined, max: number, invalid: (message: string) => void): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= max)) return
  invalid(`${name} is a whole number from 1 to ${max}, not ${show(value)}`)
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value)
}
