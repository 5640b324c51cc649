import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { commitRouters } from '../../../core/router/commit.js'
import type { Context, Middleware, MiddlewareFactory } from '../../../core/router/context.js'
import { Router } from '../../../core/router/router.js'
import { RouteMQError } from '../../../core/support/errors.js'

const nothing = () => {}
const pass: MiddlewareFactory = () => (_, next) => next()

/** The least that a chain needs of a context. */
function context(overrides: Partial<Context> = {}): Context {
  return { payload: undefined, state: {}, params: {}, ...overrides } as unknown as Context
}

function problemsOf(run: () => unknown): {
  readonly code: string
  readonly messages: string[]
  readonly files: string[]
} {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof RouteMQError, String(error))
    const problems = (error.details?.problems ?? []) as { readonly message: string; readonly files: string[] }[]
    return {
      code: error.code,
      messages: problems.map(({ message }) => message),
      files: problems.flatMap(({ files }) => files),
    }
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' })
}

test('a route gets its defaults', () => {
  const router = new Router()
  router.on('a/{x}', nothing)
  const [route] = router.commit({ file: 'routers/a.ts' }).routes
  const { run: _, ...facts } = route!
  assert.deepEqual(facts, {
    id: 'a/{x}',
    name: undefined,
    pattern: 'a/{x}',
    filter: 'a/+',
    qos: 1,
    idempotent: false,
    shared: false,
    workers: 1,
    concurrency: 16,
    lane: 'default',
    maxAgeMs: undefined,
    retained: false,
    screen: undefined,
    orderBy: undefined,
    attempts: 3,
    backoff: {},
    timeoutMs: undefined,
    reply: false,
    codec: undefined,
    payload: undefined,
    middleware: [],
    handlerName: 'nothing',
    file: 'routers/a.ts',
  })
  assert.ok(Object.isFrozen(route))
})

test('groups nest: prefix, name, middleware, qos, shared, workers, lane and maxAge are inherited and overridden', () => {
  const router = new Router()
  router.group(
    { prefix: 'plant/{line}', name: 'plant.', middleware: ['log'], qos: 0, shared: true, workers: 2, maxAge: '30s' },
    (plant) => {
      plant.on('', nothing, { name: 'root' })
      plant.group({ prefix: 'devices', name: 'devices.', middleware: ['auth'], lane: 'slow' }, (devices) => {
        devices.on('{id}', nothing, { name: 'show', middleware: ['throttle:1,2'] })
        devices.on('{id}/control', nothing, { name: 'control', qos: 2, worker_count: 4, lane: 'fast', maxAge: 500 })
      })
      plant.on('after', nothing)
    },
  )
  const { routes } = router.commit({ middleware: { log: pass, auth: pass, throttle: pass } })
  const facts = routes.map(({ id, pattern, middleware, qos, idempotent, shared, workers, lane, maxAgeMs }) => ({
    id,
    pattern,
    middleware,
    qos,
    idempotent,
    shared,
    workers,
    lane,
    maxAgeMs,
  }))
  const inherited = { qos: 0, idempotent: false, shared: true, workers: 2, lane: 'default', maxAgeMs: 30_000 }
  assert.deepEqual(facts, [
    { ...inherited, id: 'plant.root', pattern: 'plant/{line}', middleware: ['log'] },
    {
      ...inherited,
      id: 'plant.devices.show',
      pattern: 'plant/{line}/devices/{id}',
      middleware: ['log', 'auth', 'throttle:1,2'],
      lane: 'slow',
    },
    {
      id: 'plant.devices.control',
      pattern: 'plant/{line}/devices/{id}/control',
      middleware: ['log', 'auth'],
      qos: 1,
      idempotent: true,
      shared: true,
      workers: 4,
      lane: 'fast',
      maxAgeMs: 500,
    },
    { ...inherited, id: 'plant/{line}/after', pattern: 'plant/{line}/after', middleware: ['log'] },
  ])
})

test('after commit a router takes no more routes and is not committed again', () => {
  const router = new Router()
  let kept: Parameters<Parameters<Router['group']>[1]>[0] | undefined
  router.group({ prefix: 'a' }, (group) => {
    kept = group
    group.on('b', nothing)
  })
  router.commit()
  assert.throws(() => router.on('c', nothing), { code: 'ROUTER_COMMITTED' })
  assert.throws(() => router.group({}, nothing), { code: 'ROUTER_COMMITTED' })
  assert.throws(() => kept!.on('d', nothing), { code: 'ROUTER_COMMITTED' })
  assert.throws(() => router.commit(), { code: 'ROUTER_COMMITTED' })
})

test('a commit that failed leaves the router open, so that the mistake can be mended', () => {
  const router = new Router()
  router.on('a', nothing, { middleware: ['log'] })
  assert.throws(() => router.commit(), { code: 'MIDDLEWARE_UNKNOWN' })
  assert.equal(router.commit({ middleware: { log: pass } }).routes.length, 1)
})

test('every mistake of every file is reported at once', () => {
  const first = new Router()
  first.on('a/{x', nothing)
  first.on('b/{x}', nothing, { orderBy: 'y' as 'x', attempts: 0, lane: 'a b' })
  const second = new Router()
  second.on('c', nothing, { middleware: ['lgo'] })
  const { code, messages, files } = problemsOf(() =>
    commitRouters(
      [
        { router: first, file: 'routers/first.ts' },
        { router: second, file: 'routers/second.ts' },
      ],
      { middleware: { log: pass } },
    ),
  )
  assert.equal(code, 'ROUTER_INVALID')
  assert.equal(messages.length, 5)
  assert.match(messages[0]!, /mixes a parameter with text/)
  assert.match(messages[1]!, /attempts is a whole number from 1/)
  assert.match(messages[2]!, /a lane is named/)
  assert.match(messages[3]!, /orderBy names no parameter: "y"; it has x/)
  assert.match(messages[4]!, /no middleware "lgo"; did you mean "log"/)
  assert.deepEqual(
    files,
    ['first', 'first', 'first', 'first', 'second'].map((name) => `routers/${name}.ts`),
  )
})

test('options that make no sense are refused, each in a sentence', () => {
  const cases: [object, RegExp][] = [
    [{ qos: 3 }, /qos is 0, 1 or 2, not 3/],
    [{ shared: true, workers: 0 }, /workers is a whole number/],
    [{ shared: true, workers: 1.5 }, /workers is a whole number/],
    [{ workers: 2 }, /workers 2 needs `shared: true`/],
    [{ shared: true, workers: 2, worker_count: 3 }, /one option and differ/],
    [{ shared: true, workers: 2, orderBy: 'x' }, /orderBy needs workers 1, not 2/],
    [{ concurrency: 0 }, /concurrency is a whole number/],
    [{ maxAge: '5 minutes' }, /maxAge is a time/],
    [{ timeout: 0 }, /timeout is a time/],
    [{ codec: 'xml' }, /codec is one of json/],
    [{ payload: { type: 'object' } }, /payload must be a zod schema/],
    [{ lane: 'shared' }, /kept for the planner/],
    [{ sharde: true }, /no option "sharde"; did you mean "shared"/],
    [{ middleware: [42] }, /42 is neither/],
    [{ name: '' }, /a name is not empty/],
  ]
  for (const [options, message] of cases) {
    const router = new Router()
    router.on('a/{x}', nothing, options as object)
    assert.throws(() => router.commit(), { code: 'ROUTER_INVALID', message }, JSON.stringify(options))
  }
})

test('prefixes and patterns are joined with one slash, and a second one is a mistake', () => {
  const router = new Router()
  router.group({ prefix: 'a/' }, (group) => group.on('b', nothing))
  router.group({ prefix: 'a' }, (group) => group.on('/b', nothing))
  const { code, messages } = problemsOf(() => router.commit())
  assert.equal(code, 'ROUTE_PATTERN_INVALID')
  assert.match(messages[0]!, /the prefix "a\/" ends with/)
  assert.match(messages[1]!, /"\/b" begins with/)
})

test('two routes of one name, or two unnamed of one pattern, clash with both files named', () => {
  const [first, second] = [new Router(), new Router()]
  first.on('a', nothing, { name: 'same' })
  second.on('b', nothing, { name: 'same' })
  first.on('c', nothing)
  second.on('c', nothing)
  const { code, files } = problemsOf(() =>
    commitRouters(
      [
        { router: first, file: 'one.ts' },
        { router: second, file: 'two.ts' },
      ],
      { middleware: {} },
    ),
  )
  assert.equal(code, 'ROUTE_CLASH')
  assert.deepEqual(files, ['one.ts', 'two.ts', 'one.ts', 'two.ts'])
})

test('shared routes that would need one subscription must agree on workers and lane', () => {
  const commit = (one: object, other: object, pattern = 'a/{x}') => {
    const [first, second] = [new Router(), new Router()]
    first.on('a/+', nothing, { name: 'one', shared: true, ...one })
    second.on(pattern, nothing, { name: 'two', shared: true, ...other })
    return problemsOf(() =>
      commitRouters(
        [
          { router: first, file: 'one.ts' },
          { router: second, file: 'two.ts' },
        ],
        { middleware: {} },
      ),
    )
  }
  const workers = commit({ workers: 2 }, { workers: 3 })
  assert.equal(workers.code, 'ROUTE_CLASH')
  assert.match(workers.messages[0]!, /ask for 2 and 3 workers/)
  assert.deepEqual(workers.files, ['one.ts', 'two.ts'])
  assert.match(commit({ workers: 2 }, { workers: 3 }, 'a/b').messages[0]!, /ask for 2 and 3 workers/)
  assert.match(commit({}, { lane: 'other' }).messages[0]!, /but not the lane/)
  assert.match(commit({}, { orderBy: 'x' }).messages[0]!, /but not the lane/)
})

test('middleware runs in the written order, a priority moves it outside, arguments reach the factory', async () => {
  const steps: string[] = []
  const tracer = (name: string, priority = 0): MiddlewareFactory =>
    Object.assign(
      (...args: string[]): Middleware =>
        (_, next) => {
          steps.push([name, ...args].join(' '))
          return next()
        },
      { priority },
    )
  const router = new Router()
  const inline: Middleware = (_, next) => {
    steps.push('inline')
    return next()
  }
  router.group({ middleware: ['a: 1 , two', 'b'] }, (group) => {
    group.on('x', () => steps.push('handler'), { middleware: [inline, 'auth'] })
  })
  const dispatcher = router.commit({ middleware: { a: tracer('a'), b: tracer('b'), auth: tracer('auth', 100) } })
  await dispatcher.routes[0]!.run(context())
  assert.deepEqual(steps, ['auth', 'a 1 two', 'b', 'inline', 'handler'])
  assert.deepEqual(dispatcher.routes[0]!.middleware, ['auth', 'a: 1 , two', 'b', 'inline'])
})

test('one text is one middleware, so routes that write the same limit share it', () => {
  const made: string[][] = []
  const limit: MiddlewareFactory = (...args) => {
    made.push(args)
    return (_, next) => next()
  }
  const router = new Router()
  router.on('a', nothing, { middleware: ['limit:1,2'] })
  router.on('b', nothing, { middleware: ['limit:1,2'] })
  router.on('c', nothing, { middleware: ['limit:3'] })
  router.commit({ middleware: { limit } })
  assert.deepEqual(made, [['1', '2'], ['3']])
})

test('a middleware may mark its route; what the route says itself wins', () => {
  const marked: MiddlewareFactory = () =>
    Object.assign(((_, next) => next()) as Middleware, { marks: { idempotent: true, timeoutMs: 5 } })
  const router = new Router()
  router.on('a', nothing, { middleware: ['marked'] })
  router.on('b', nothing, { middleware: ['marked'], idempotent: false, timeout: '1s' })
  const [a, b] = router.commit({ middleware: { marked } }).routes
  assert.deepEqual([a!.idempotent, a!.timeoutMs, b!.idempotent, b!.timeoutMs], [true, 5, false, 1_000])
})

test('a factory that throws or makes no function is a mistake of the routes that name it', () => {
  const router = new Router()
  router.on('a', nothing, { middleware: ['broken:x', 'empty'] })
  const broken: MiddlewareFactory = (text) => {
    throw new Error(`cannot read ${text}`)
  }
  const { messages } = problemsOf(() => router.commit({ middleware: { broken, empty: (() => undefined) as never } }))
  assert.match(messages[0]!, /"broken:x": cannot read x/)
  assert.match(messages[1]!, /"empty" made no function/)
})

test('error handlers of groups answer what middleware and handler throw, the innermost first', async () => {
  const router = new Router()
  router.group({ onError: (error) => `outer: ${(error as Error).message}` }, (outer) => {
    outer.group(
      {
        onError: (error) => {
          throw new Error(`inner ${(error as Error).message}`)
        },
      },
      (inner) => {
        inner.on('a', () => {
          throw new Error('handler')
        })
      },
    )
    outer.on('b', nothing, { middleware: [() => Promise.reject(new Error('middleware'))] })
  })
  const [a, b] = router.commit().routes
  assert.equal(await a!.run(context()), 'outer: inner handler')
  assert.equal(await b!.run(context()), 'outer: middleware')
})

test('the payload is validated after the middleware and before the handler', async () => {
  const router = new Router()
  const strip: Middleware = (ctx, next) => {
    const { api_key: _, ...rest } = ctx.payload as Record<string, unknown>
    ctx.payload = rest
    return next()
  }
  router.on('a', (ctx) => ctx.payload, {
    middleware: [strip],
    payload: z.strictObject({ value: z.number(), unit: z.string().default('%') }),
  })
  const { run } = router.commit().routes[0]!
  assert.deepEqual(await run(context({ payload: { value: 1, api_key: 'secret' } })), { value: 1, unit: '%' })
  await assert.rejects(run(context({ payload: { value: 'x', extra: 1 } })), (error: RouteMQError) => {
    assert.equal(error.code, 'PAYLOAD_INVALID')
    const fields = error.details!.fields as { readonly path: string }[]
    assert.deepEqual(fields.map(({ path }) => path).sort(), ['extra', 'value'])
    return true
  })
})

test('a schema with asynchronous parts is awaited', async () => {
  const router = new Router()
  const even = z.number().refine(async (value) => value % 2 === 0, 'is odd')
  router.on('a', (ctx) => ctx.payload, { payload: z.object({ n: even }) })
  const { run } = router.commit().routes[0]!
  assert.deepEqual(await run(context({ payload: { n: 2 } })), { n: 2 })
  await assert.rejects(run(context({ payload: { n: 3 } })), { code: 'PAYLOAD_INVALID', message: /n: is odd/ })
})

test('of a union the member that came closest is reported', async () => {
  const router = new Router()
  const payload = z.union([
    z.strictObject({ point: z.string(), value: z.number() }),
    z.strictObject({ address: z.number(), value: z.number(), count: z.number() }),
  ])
  router.on('a', nothing, { payload })
  const { run } = router.commit().routes[0]!
  await assert.rejects(run(context({ payload: { point: 'level', value: 'high' } })), { message: /: value: / })
})

class Counter {
  static readonly inject = ['log', 'devices'] as const
  static made: object[] = []
  #count = 0
  constructor(services: object) {
    Counter.made.push(services)
  }
  next() {
    this.#count += 1
    return this.#count
  }
}

test('a controller is made once a process and handed the services it names', async () => {
  Counter.made = []
  const router = new Router()
  router.on('a', [Counter, 'next'], { name: 'a' })
  router.on('b', [Counter, 'next'], { name: 'b' })
  const services = { log: { id: 'log' }, devices: { id: 'devices' }, db: { id: 'db' } }
  const { routes } = router.commit({ services })
  assert.deepEqual(Counter.made, [{ log: services.log, devices: services.devices }])
  assert.deepEqual([await routes[0]!.run(context()), await routes[1]!.run(context())], [1, 2])
  assert.equal(routes[0]!.handlerName, 'Counter.next')
})

test('without services routes can be listed, and a controller that needs some is not made', () => {
  Counter.made = []
  for (const options of [{}, { services: {} }]) {
    const router = new Router()
    router.on('a', [Counter, 'next'])
    assert.equal(router.commit(options).routes.length, 1)
  }
  assert.deepEqual(Counter.made, [])
})

test('unknown services, missing methods and constructors that throw are mistakes of the route', () => {
  class Wants {
    static readonly inject = ['devcies']
    run() {}
  }
  class Throws {
    constructor() {
      throw new Error('no disk')
    }
    run() {}
  }
  const router = new Router()
  router.on('a', [Wants, 'run'])
  router.on('b', [Throws, 'run'])
  router.on('c', [Counter, 'nxet' as 'next'])
  router.on('d', 'text' as never)
  const { messages } = problemsOf(() => router.commit({ services: { log: 1, devices: 2 } }))
  assert.match(messages[0]!, /Wants asks for the service "devcies".*did you mean "devices"/)
  assert.match(messages[1]!, /Throws could not be made: no disk/)
  assert.match(messages[2]!, /Counter has no method "nxet"; did you mean "next"/)
  assert.match(messages[3]!, /must be a function or \[Controller, "method"\]/)
})

test('explain says what runs and why routes of a similar shape do not', () => {
  const router = new Router()
  router.on('devices/{id:int}/control', nothing)
  router.on('devices/{id}/read', nothing)
  router.on('devices/{id}', nothing)
  router.on('other/thing', nothing)
  router.on('{any}/z/{kind:a|b}', nothing)
  const dispatcher = router.commit()
  const explained = (topic: string) =>
    dispatcher.explain(topic).map(({ route, matches, reason }) => [route.pattern, matches, reason])
  assert.deepEqual(explained('devices/x/control'), [
    ['devices/{id:int}/control', false, 'level 2 is "x", {id} wants int'],
    ['devices/{id}/read', false, 'level 3 is "control", the pattern says "read"'],
    ['devices/{id}', false, 'the topic has 3 levels, the pattern 2'],
  ])
  assert.deepEqual(explained('devices/7/control')[0], ['devices/{id:int}/control', true, 'matches: id = 7'])
  assert.match(String(explained('$SYS/z/a')[0]![2]), /begin with \$/)
})

test('topics are built from names and refused where they would mean something else', () => {
  const router = new Router()
  router.group({ prefix: 'devices/{id}', name: 'devices.' }, (group) => {
    group.on('registers/{address:int}', nothing, { name: 'register' })
    group.on('files/{path*}', nothing, { name: 'file' })
  })
  router.on('{site}/x', nothing, { name: 'site' })
  assert.equal(router.topic('devices.register', { id: 'a/b', address: 7 }), 'devices/a%2Fb/registers/7')
  assert.equal(router.topic('devices.file', { id: 1, path: 'x/y+' }), 'devices/1/files/x/y%2B')
  assert.equal(router.topic('devices.file', { id: 1, path: '' }), 'devices/1/files')
  const refused: [string, Record<string, string | number>, RegExp][] = [
    ['devices.register', { id: 1 }, /"address" is missing/],
    ['devices.register', { id: '', address: 1 }, /"id" is empty/],
    ['devices.register', { id: 1, address: 'x' }, /"x" does not fit/],
    ['devices.register', { id: 'a\0', address: 1 }, /NUL/],
    ['devices.register', { id: 1, address: 1, more: 1 }, /no parameter "more"/],
    ['site', { site: '$SYS' }, /own \$ topics/],
    ['site', { site: 'x'.repeat(70_000) }, /longer than 65535/],
  ]
  for (const [name, params, message] of refused) {
    assert.throws(() => router.topic(name, params), { code: 'TOPIC_INVALID', message })
  }
  assert.throws(() => router.topic('devices.none', {}), { code: 'ROUTE_UNKNOWN' })
})
