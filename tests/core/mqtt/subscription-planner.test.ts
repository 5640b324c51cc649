import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import mqtt, { type MqttClient } from 'mqtt'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { type PlanOptions, planSubscriptions, routesByCopy } from '../../../core/mqtt/subscription-planner.js'
import { matches, parseShare } from '../../../core/mqtt/topic.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { Dispatcher, PlannedSubscription } from '../../../core/router/route.js'
import type { RouteOptions } from '../../../core/router/route-options.js'
import { Router } from '../../../core/router/router.js'
import { sleep } from '../../../core/support/clock.js'
import { RouteMQError } from '../../../core/support/errors.js'

type Written = readonly [pattern: string, options?: RouteOptions]

function commit(routes: readonly Written[]): Dispatcher {
  const router = new Router()
  for (const [index, [pattern, options]] of routes.entries())
    router.on(pattern, () => {}, { name: `r${index}`, ...options })
  return router.commit()
}

const V5: PlanOptions = { groupName: 'g', slots: 2, subscriptionIdentifiers: true }
const V4: PlanOptions = { ...V5, subscriptionIdentifiers: false }

function plan(routes: readonly Written[], options: PlanOptions = V5) {
  return planSubscriptions(commit(routes).routes, options).map(({ id: _, ...rest }) => rest)
}

const shared = (more: RouteOptions = {}): RouteOptions => ({ shared: true, ...more })

test('equal and containing filters are one subscription to the widest at the highest QoS', () => {
  assert.deepEqual(
    plan([
      ['a/{x}', { qos: 0 }],
      ['a/+', { qos: 1 }],
      ['a/b', { qos: 0 }],
      ['c', { qos: 0 }],
    ]),
    [
      { filter: 'a/+', qos: 1, shared: false, lane: 'default', slots: 'solo', routes: ['r0', 'r1', 'r2'] },
      { filter: 'c', qos: 0, shared: false, lane: 'default', slots: 'solo', routes: ['r3'] },
    ],
  )
  assert.deepEqual(
    plan([['a/b/c'], ['a/#'], ['+/#'], ['$SYS/x']]).map(({ filter, routes }) => [filter, routes]),
    [
      ['#', ['r2', 'r0', 'r1']],
      ['$SYS/x', ['r3']],
    ],
  )
})

test('shared and plain routes never share a subscription or a lane', () => {
  assert.deepEqual(
    plan([['a/+'], ['a/b', shared()], ['c', shared({ lane: 'slow' })], ['d', { lane: 'slow' }]]).map(
      ({ filter, lane, slots, shared }) => [filter, lane, slots, shared],
    ),
    [
      ['a/+', 'default', 'solo', false],
      ['$share/g/a/b', 'shared', [1], true],
      ['$share/g/c', 'shared-slow', [2], true],
      ['d', 'slow', 'solo', false],
    ],
  )
})

test('ordered routes have a lane of their own on solo, also shared ones', () => {
  const planned = plan([['a/{x}', { orderBy: 'x' }], ['b/{x}', shared({ orderBy: 'x' })], ['c']])
  assert.deepEqual(
    planned.map(({ filter, slots }) => [filter, slots]),
    [
      ['a/+', 'solo'],
      ['$share/g/b/+', 'solo'],
      ['c', 'solo'],
    ],
  )
  assert.equal(new Set(planned.map(({ lane }) => lane)).size, 3)
  assert.match(planned[0]!.lane, /^ordered-r0-[a-z0-9]+$/)
})

test('an ordered route is not merged into a wider plain one', () => {
  const planned = plan([['a/#'], ['a/{x}', { orderBy: 'x' }]])
  assert.deepEqual(
    planned.map(({ routes }) => routes),
    [['r0'], ['r1']],
  )
})

test('workers are placed round-robin over the slots and never exceed them', () => {
  const slots = (count: number) =>
    plan(
      [
        ['a', shared({ workers: 2 })],
        ['b', shared()],
        ['c', shared({ workers: 2 })],
        ['d', shared({ workers: 9 })],
      ],
      {
        ...V5,
        slots: count,
      },
    ).map((subscription) => subscription.slots)
  assert.deepEqual(slots(3), [[1, 2], [3], [1, 2], [1, 2, 3]])
  assert.deepEqual(slots(1), [[1], [1], [1], [1]])
  assert.deepEqual(slots(0), [[1], [1], [1], [1]])
})

test('partial overlaps share a lane where identifiers tell them apart, else each has its own', () => {
  const routes: Written[] = [['a/+'], ['+/b'], ['c/d'], ['+/+/x']]
  assert.deepEqual(
    plan(routes).map(({ lane }) => lane),
    ['default', 'default', 'default', 'default'],
  )
  const [first, second, third, fourth] = plan(routes, V4).map(({ lane }) => lane)
  assert.deepEqual([first, third, fourth], ['default', 'default', 'default'])
  assert.match(second!, /^default-[a-z0-9]+$/)
})

test('the name of a lane and the identifier of a subscription stay when other routes come', () => {
  const find = (routes: readonly Written[], filter: string) => {
    const { lane, id } = planSubscriptions(commit(routes).routes, V4).find((one) => one.filter === filter)!
    return { lane, id }
  }
  const before = find([['a/+'], ['+/b']], '+/b')
  const after = find([['x'], ['a/+'], ['y/z'], ['+/b'], ['k']], '+/b')
  assert.deepEqual(after, before)
})

test('identifiers are unique, from 1 to 268,435,455', () => {
  const routes: Written[] = Array.from({ length: 3_000 }, (_, index) => [`a${index}/+`])
  const ids = planSubscriptions(commit(routes).routes, V5).map(({ id }) => id)
  assert.equal(new Set(ids).size, 3_000)
  assert.ok(ids.every((id) => Number.isInteger(id) && id >= 1 && id <= 268_435_455))
})

test('a copy runs the routes of the subscriptions it names; an identifier left from before runs all of the lane', () => {
  const lane = planSubscriptions(commit([['a/+'], ['+/b'], ['c']]).routes, V5)
  const run = (subscriptionIds: readonly number[] | undefined) => [...routesByCopy(lane)({ subscriptionIds })]
  assert.deepEqual(run([lane[0]!.id]), ['r0'])
  assert.deepEqual(run([lane[0]!.id, lane[1]!.id]), ['r0', 'r1'])
  assert.deepEqual(run(undefined), ['r0', 'r1', 'r2'])
  assert.deepEqual(run([]), ['r0', 'r1', 'r2'])
  assert.deepEqual(run([999]), ['r0', 'r1', 'r2'])
  assert.deepEqual(run([999, lane[2]!.id]), ['r2'])
})

/** One connection: what a worker subscribes on one lane of one seat. */
interface Seat {
  readonly name: string
  readonly subscriptions: readonly PlannedSubscription[]
}

/** Connections as the workers make them: solo and slots apart, one a lane. */
function seatsOf(planned: readonly PlannedSubscription[]): Seat[] {
  const seats = new Map<string, PlannedSubscription[]>()
  for (const subscription of planned) {
    for (const seat of subscription.slots === 'solo' ? ['solo'] : subscription.slots.map((slot) => `slot-${slot}`)) {
      const name = `${seat}-${subscription.lane}`
      seats.set(name, [...(seats.get(name) ?? []), subscription])
    }
  }
  return [...seats].map(([name, subscriptions]) => ({ name, subscriptions }))
}

interface Copy {
  readonly seat: Seat
  readonly ids: readonly number[] | undefined
}

/**
 * What a broker may deliver for one message. With identifiers: a copy a subscription, or one copy a connection that names
 * all (MQTT 5.0, 3.3.4). Without: a copy a subscription, or one a connection (3.1.1, 3.3.5).
 */
function deliver(
  seats: readonly Seat[],
  topic: string,
  broker: { merge: boolean; ids: boolean; pick: number },
): Copy[] {
  const fits = (subscription: PlannedSubscription) =>
    matches(parseShare(subscription.filter)?.filter ?? subscription.filter, topic)
  const copies: { seat: Seat; id: number }[] = []
  const groups = new Map<string, { seat: Seat; id: number }[]>()
  for (const seat of seats) {
    for (const subscription of seat.subscriptions.filter(fits)) {
      const copy = { seat, id: subscription.id }
      if (!subscription.shared) copies.push(copy)
      else groups.set(subscription.filter, [...(groups.get(subscription.filter) ?? []), copy])
    }
  }
  for (const members of groups.values()) copies.push(members[broker.pick % members.length]!)
  if (!broker.merge) return copies.map(({ seat, id }) => ({ seat, ids: broker.ids ? [id] : undefined }))
  return [...new Set(copies.map(({ seat }) => seat))].map((seat) => ({
    seat,
    ids: broker.ids ? copies.filter((copy) => copy.seat === seat).map(({ id }) => id) : undefined,
  }))
}

function runsOf(dispatcher: Dispatcher, copies: readonly Copy[], topic: string): string[] {
  return copies.flatMap(({ seat, ids }) => {
    const allowed = routesByCopy(seat.subscriptions)({ subscriptionIds: ids })
    return dispatcher
      .match(topic)
      .map(({ route }) => route.id)
      .filter((id) => allowed.has(id))
  })
}

const level = fc.constantFrom('a', 'b', '+', '{p}')
const patternText = fc
  .tuple(fc.array(level, { minLength: 1, maxLength: 3 }), fc.constantFrom('', '', '/#', '/{rest*}'))
  .map(([levels, end]) => levels.map((text, at) => (text === '{p}' ? `{p${at}}` : text)).join('/') + end)
const routeOptions = fc.record({
  shared: fc.boolean(),
  qos: fc.constantFrom(0 as const, 1 as const),
  lane: fc.constantFrom('default', 'default', 'other'),
})
const written = fc.array(fc.tuple(patternText, routeOptions), { minLength: 1, maxLength: 8 })
const topicText = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))

/** Undefined where the random routes clash, which `commit()` says. */
function commitOrNone(routes: readonly Written[]): Dispatcher | undefined {
  try {
    return commit(routes)
  } catch (error) {
    if (error instanceof RouteMQError && error.code === 'ROUTE_CLASH') return undefined
    throw error
  }
}

for (const ids of [true, false]) {
  test(`each matching route runs exactly once, whatever the broker does ${ids ? 'with' : 'without'} identifiers (fast-check)`, () => {
    let tried = 0
    fc.assert(
      fc.property(written, topicText, fc.boolean(), fc.nat(7), fc.nat(3), (routes, topic, merge, pick, slots) => {
        const dispatcher = commitOrNone(
          routes.map(([pattern, options]) => [pattern, options.shared ? { ...options, workers: 2 } : options]),
        )
        fc.pre(dispatcher !== undefined)
        tried += 1
        const planned = planSubscriptions(dispatcher.routes, { groupName: 'g', slots, subscriptionIdentifiers: ids })
        const copies = deliver(seatsOf(planned), topic, { merge, ids, pick })
        const expected = dispatcher.match(topic).map(({ route }) => route.id)
        assert.deepEqual(runsOf(dispatcher, copies, topic).sort(), expected.sort())
      }),
      { numRuns: 1_500 },
    )
    assert.ok(tried >= 1_000, `${tried} route sets without a clash`)
  })
}

// The same against real brokers.
interface BrokerAddress {
  readonly host: string
  readonly port: number
}

const MOSQUITTO: BrokerAddress = { host: '127.0.0.1', port: 1883 }

async function mosquittoIsThere(t: TestContext): Promise<boolean> {
  const socket = connectTcp(MOSQUITTO)
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(2_000) })
    return true
  } catch {
    const reason = `no broker at ${MOSQUITTO.host}:${MOSQUITTO.port}`
    assert.notEqual(process.env.ROUTEMQ_TEST_SERVICES, 'required', reason)
    console.log(`SKIPPED: ${t.name}: ${reason}`)
    t.skip(reason)
    return false
  } finally {
    socket.destroy()
  }
}

/** Subscribes every seat as a lane would, publishes, and counts what each route would have run. */
async function countRuns(
  address: BrokerAddress,
  protocolVersion: 4 | 5,
  routes: readonly Written[],
  topics: readonly string[],
) {
  const dispatcher = commit(routes)
  const planned = planSubscriptions(dispatcher.routes, {
    groupName: `planner-${randomUUID()}`,
    slots: 2,
    subscriptionIdentifiers: protocolVersion === 5,
  })
  const runs: string[] = []
  let ends = 0
  const seats = seatsOf(planned)
  const endTopic = `planner-end/${randomUUID()}`
  const clients: MqttClient[] = []
  const open = async () => {
    const options = { ...address, protocolVersion, clean: true, reconnectPeriod: 0, connectTimeout: 5_000 }
    const made = await mqtt.connectAsync(options)
    clients.push(made)
    return made
  }
  try {
    for (const seat of seats) {
      const lane = await open()
      lane.on('message', (topic, _payload, packet) => {
        if (topic === endTopic) {
          ends += 1
          return
        }
        const id = packet.properties?.subscriptionIdentifier
        const subscriptionIds = id === undefined ? undefined : Array.isArray(id) ? id : [id]
        runs.push(...runsOf(dispatcher, [{ seat, ids: subscriptionIds }], topic).map((route) => `${topic} ${route}`))
      })
      for (const subscription of seat.subscriptions) {
        const properties = protocolVersion === 5 ? { properties: { subscriptionIdentifier: subscription.id } } : {}
        const [granted] = await lane.subscribeAsync(subscription.filter, { qos: 1, ...properties })
        assert.ok(granted!.qos <= 1, `${subscription.filter} was refused`)
      }
      await lane.subscribeAsync(endTopic, { qos: 1 })
    }
    const publisher = await open()
    for (const topic of topics) await publisher.publishAsync(topic, 'x', { qos: 1 })
    await publisher.publishAsync(endTopic, 'x', { qos: 1 })
    // Each connection gets its messages in order, so after the end nothing older is to come.
    for (let waited = 0; ends < seats.length && waited < 10_000; waited += 10) await sleep(10)
    assert.equal(ends, seats.length, 'not every connection saw the end')
  } finally {
    await Promise.all(clients.map((made) => made.endAsync(true)))
  }
  const expected = topics.flatMap((topic) => dispatcher.match(topic).map(({ route }) => `${topic} ${route.id}`))
  assert.deepEqual(runs.sort(), expected.sort())
  return `${topics.length} messages, ${seats.length} connections, ${runs.length} runs, each exactly once`
}

/** Equal, containing and partly overlapping filters, shared and plain, ordered, on several lanes. */
function everyKind(root: string): { readonly routes: Written[]; readonly topics: string[] } {
  return {
    routes: [
      [`${root}/{x}/control`],
      [`${root}/+/control`],
      [`${root}/a/{rest*}`],
      [`${root}/a/control`, { qos: 0 }],
      [`${root}/{x}/{y}`, { lane: 'slow' }],
      [`${root}/a/+`, { lane: 'slow' }],
      [`${root}/{x}/control`, shared({ workers: 2 })],
      [`${root}/a/+`, shared({ workers: 2 })],
      [`${root}/a/control`, shared({ workers: 2 })],
      [`${root}/#`, shared({ lane: 'all', workers: 2 })],
      [`${root}/{x}/control`, { orderBy: 'x' }],
      [`${root}/b/{x}`, shared({ orderBy: 'x' })],
    ],
    topics: ['a/control', 'b/control', 'a/read', 'b/read', 'a/x/y', 'c', 'a', 'a/control'].map(
      (end) => `${root}/${end}`,
    ),
  }
}

for (const protocolVersion of [5, 4] as const) {
  const name = `mosquitto over ${protocolVersion === 5 ? 'MQTT 5' : 'MQTT 3.1.1'}`
  test(`${name}: every kind of overlap, each matching route exactly once`, async (t) => {
    if (!(await mosquittoIsThere(t))) return
    const { routes, topics } = everyKind(`planner/${randomUUID()}`)
    console.log(`${name}: ${await countRuns(MOSQUITTO, protocolVersion, routes, topics)}`)
  })
}

test('embedded broker: every kind of overlap, each matching route exactly once', async () => {
  const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
  try {
    const { routes, topics } = everyKind('planner')
    console.log(`embedded broker: ${await countRuns({ host: '127.0.0.1', port: broker.port }, 4, routes, topics)}`)
  } finally {
    await broker.close()
  }
})
