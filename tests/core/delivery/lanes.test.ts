import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DeliveryEngine } from '../../../core/delivery/engine.js'
import { planSubscriptions } from '../../../core/mqtt/subscription-planner.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { commitRouters } from '../../../core/router/commit.js'
import { Router } from '../../../core/router/router.js'
import { eventually, mqttConfig, onEachBroker, pause, testLane, testLink, unique } from '../mqtt/kit.js'
import { closedGate, Field, KeepingStore } from './harness.js'

/** The engine between a real lane and a real publishing link. */
onEachBroker('delivery', ({ name, protocol }, broker) => {
  async function worker(define: (router: Router) => void, changes: { ackHoldMs?: number } = {}) {
    const router = new Router()
    define(router)
    const dispatcher = commitRouters([{ router, file: 'routers/test.ts' }], { middleware: {} })
    const link = await testLink(broker.url, { protocol })
    const field = new Field()
    const store = new KeepingStore()
    const engine = new DeliveryEngine({
      dispatcher,
      publisher: link,
      field,
      store,
      logger: silentLogger,
      config: { ...mqttConfig(), ...changes },
    })
    const plan = planSubscriptions(dispatcher.routes, {
      groupName: unique('g'),
      slots: 1,
      subscriptionIdentifiers: link.protocol === 5,
    })
    const lanes = [...new Set(plan.map(({ slots, lane }) => `${slots === 'solo'} ${lane}`))].map((key) => {
      const own = plan.filter(({ slots, lane }) => `${slots === 'solo'} ${lane}` === key)
      return testLane(broker.url, own, { protocol, handle: engine.intake(own) }).lane
    })
    await Promise.all(lanes.map((lane) => lane.start()))
    return { engine, link, lanes, field, store }
  }

  test('a command is answered, and acknowledged after the answer', async () => {
    const root = unique('t')
    const { lanes, engine } = await worker((router) => {
      router.on(`${root}/{id}/write`, async ({ params, payload }) => {
        await pause(20)
        return { device: params.id, value: (payload as { value: number }).value }
      })
    })
    const caller = await testLink(broker.url, { protocol })
    const answer = (await caller.call(`${root}/a/write`, { value: 42 })) as Record<string, unknown>
    assert.deepEqual({ device: answer.device, value: answer.value }, { device: 'a', value: 42 })
    await eventually(() => lanes.every((lane) => lane.stats().inWindow === 0), 'the acknowledgement')
    assert.equal(engine.stats().replied, 1)
  })

  test('equal, containing and partly overlapping filters, plain and shared: each matching route once a message', async () => {
    const root = unique('t')
    const ran: string[] = []
    const note = (route: string) => (ctx: { topic: string }) => void ran.push(`${route} ${ctx.topic}`)
    const { engine } = await worker((router) => {
      router.on(`${root}/{a}/x`, note('x1'))
      router.on(`${root}/{b}/x`, note('x2'), { name: 'second' })
      router.on(`${root}/#`, note('all'))
      router.on(`${root}/1/{c}`, note('one'))
      router.on(`${root}/{d}/y`, note('y'))
      router.on(`${root}/{e}/x`, note('shared x'), { name: 'third', shared: true })
      router.on(`${root}/1/{f}`, note('shared one'), { name: 'fourth', shared: true })
    })
    const link = await testLink(broker.url, { protocol })
    for (const topic of ['1/x', '2/x', '1/y', '3/z', '1/x']) await link.publish(`${root}/${topic}`, '{}')
    const wanted: Record<string, string[]> = {
      '1/x': ['x1', 'x2', 'all', 'one', 'shared x', 'shared one'],
      '2/x': ['x1', 'x2', 'all', 'shared x'],
      '1/y': ['all', 'one', 'y', 'shared one'],
      '3/z': ['all'],
    }
    const all = ['1/x', '2/x', '1/y', '3/z', '1/x'].flatMap((topic) =>
      wanted[topic]!.map((route) => `${route} ${root}/${topic}`),
    )
    await eventually(
      () => ran.length >= all.length,
      () => `${ran.length} of ${all.length}`,
    )
    await pause(50)
    assert.deepEqual(ran.sort(), all.sort())
    assert.equal(engine.stats().failed, 0)
  })

  test('one silent device of ten: the others go on, in order of milliseconds', async () => {
    const root = unique('t')
    const took: number[] = []
    const silence = closedGate()
    // Parked by ackHold alone, the silent ones would close the window for a minute at a time.
    const { engine, store } = await worker(
      (router) => {
        router.on(
          `${root}/{id}/write`,
          async ({ params, payload }) => {
            if (params.id === 'd0') return silence.opened
            await pause(2)
            took.push(performance.now() - (payload as { at: number }).at)
            return undefined
          },
          { concurrency: 8 },
        )
      },
      { ackHoldMs: 60_000 },
    )
    const link = await testLink(broker.url, { protocol })
    const count = 300
    for (let n = 0; n < count; n++) {
      void link.publish(`${root}/d${n % 10}/write`, JSON.stringify({ at: performance.now() }))
      await pause(3)
    }
    await eventually(
      () => took.length === count * 0.9,
      () => `${took.length} of ${count * 0.9}`,
    )
    const p = (share: number) => took.toSorted((one, other) => one - other)[Math.floor(took.length * share)]!
    const figures = `median ${p(0.5).toFixed(1)} ms, p99 ${p(0.99).toFixed(1)} ms, longest ${p(0.9999).toFixed(1)} ms`
    console.log(
      `  ${name}: ${took.length} commands to nine devices, one silent: ${figures}, ${engine.stats().parked} parked`,
    )
    await eventually(() => engine.stats().parked >= count / 10, 'every silent one is parked')
    silence.open()
    await eventually(() => engine.stats().handled === count, 'the silent ones')
    await eventually(() => store.inner.parked.length === 0, 'nothing parked')
  })

  test('handlers of four windows that each await a publish all finish', async () => {
    const root = unique('t')
    let done = 0
    const { lanes } = await worker((router) => {
      router.on(
        `${root}/{n}`,
        async ({ publish, params }) => {
          await publish(`${root}/out/${params.n}`, { n: params.n })
          await pause(5)
          done += 1
        },
        { concurrency: 400 },
      )
    })
    const link = await testLink(broker.url, { protocol })
    await Promise.all(Array.from({ length: 400 }, (_, n) => link.publish(`${root}/${n}`, '{}')))
    await eventually(
      () => done === 400,
      () => `${done} of 400`,
    )
    assert.ok(lanes.every((lane) => lane.stats().connections === 1))
  })
})
