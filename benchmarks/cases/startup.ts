import { planSubscriptions } from '../../core/mqtt/subscription-planner.js'
import { Router } from '../../core/router/router.js'
import { type Benchmark, median } from '../harness.js'

const ROUTES = 10_000
const MIB = 2 ** 20

function register(count: number): Router {
  const router = new Router()
  router.group({ prefix: 'plant', name: 'plant.', middleware: ['pass'], shared: true, workers: 2 }, (plant) => {
    for (let index = 0; index < count; index += 1) {
      plant.on(`line${index % 100}/{device_id}/op${index}/{address:int}`, () => index, {
        name: `op${index}`,
        maxAge: '30s',
      })
    }
  })
  return router
}

/** Seconds and bytes from nothing to a dispatcher and its subscriptions. */
function start(count: number): { readonly seconds: number; readonly cpuSeconds: number; readonly bytes: number } {
  const middleware = { pass: () => (_: unknown, next: () => Promise<unknown>) => next() }
  const before = heap()
  const startedAt = performance.now()
  const cpu = process.cpuUsage()
  const dispatcher = register(count).commit({ middleware })
  const plan = planSubscriptions(dispatcher.routes, { groupName: 'bench', slots: 4, subscriptionIdentifiers: true })
  const seconds = (performance.now() - startedAt) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  if (dispatcher.match(`plant/line0/x/op0/1`).length !== 1) throw new Error('the first route was not found')
  if (plan.length !== count) throw new Error(`${plan.length} subscriptions for ${count} routes`)
  const bytes = heap() - before
  return { seconds, cpuSeconds: (user + system) / 1e6, bytes }
}

function heap(): number {
  if (globalThis.gc === undefined) throw new Error('run with --expose-gc')
  globalThis.gc()
  return process.memoryUsage().heapUsed
}

const benchmark: Benchmark = {
  title: `register, commit and plan ${ROUTES.toLocaleString('en')} routes`,
  async run({ rounds }) {
    start(1)
    const runs = Array.from({ length: rounds }, () => start(ROUTES))
    const seconds = median(runs.map((run) => run.seconds))
    // Judged by the processor time, all threads: the clock also counts what else a shared machine does.
    const cpuSeconds = median(runs.map((run) => run.cpuSeconds))
    const megabytes = median(runs.map((run) => run.bytes)) / MIB
    return {
      figures: [
        { label: 'time', value: seconds * 1_000, unit: 'ms' },
        { label: 'heap over an empty router', value: megabytes, unit: 'MiB' },
      ],
      ratios: [
        { label: 'seconds of processor time', value: cpuSeconds, target: 1.5, bound: 'at most' },
        { label: 'MiB', value: megabytes, target: 60, bound: 'at most' },
      ],
    }
  },
}

export default benchmark
