import { fork } from 'node:child_process'
import { once } from 'node:events'
import modbusSerial from 'modbus-serial'
import { Bus } from '../../core/modbus/bus/bus.js'
import { createTransport } from '../../core/modbus/transport/open.js'
import { silentLogger } from '../../core/observability/logger.js'
import { systemClock } from '../../core/support/clock.js'
import { type Benchmark, type Figure, median, type Ratio } from '../harness.js'

const COUNT = 10
/** Slices a round; see {@link measurePairs}. */
const SLICES = 5

/** Runs `calls` reads with `width` of them under way at a time. */
async function pipelined(calls: number, width: number, read: () => Promise<number>): Promise<void> {
  let left = calls
  const one = async () => {
    while (left > 0) {
      left -= 1
      if ((await read()) !== COUNT) throw new Error('a wrong answer')
    }
  }
  await Promise.all(Array.from({ length: width }, one))
}

/** Microseconds a read. */
interface Cost {
  readonly wall: number
  readonly cpu: number
}

async function cost(calls: number, run: () => Promise<void>): Promise<Cost> {
  const [startedAt, cpuBefore] = [performance.now(), process.cpuUsage()]
  await run()
  const { user, system } = process.cpuUsage(cpuBefore)
  return { wall: ((performance.now() - startedAt) * 1e3) / calls, cpu: (user + system) / calls }
}

/**
 * Many short slices of both in turns, each time in the other order, compared slice by slice: what else the machine does
 * lasts longer than a pair and meets both of it.
 */
async function measurePairs(bare: () => Promise<void>, queue: () => Promise<void>, calls: number, slices: number) {
  for (let warm = 0; warm < 3; warm += 1) for (const run of [bare, queue]) await run()
  const pairs: { bare: Cost; queue: Cost }[] = []
  for (let slice = 0; slice < slices; slice += 1) {
    if (slice % 2 === 0) pairs.push({ bare: await cost(calls, bare), queue: await cost(calls, queue) })
    else {
      const queued = await cost(calls, queue)
      pairs.push({ bare: await cost(calls, bare), queue: queued })
    }
  }
  return pairs
}

const benchmark: Benchmark = {
  title: 'reads of 10 registers through the queue of a bus against bare modbus-serial; same server, own process',
  async run({ short, rounds }) {
    const calls = short ? 1_000 : 4_000
    const server = fork(new URL('../modbus-server.ts', import.meta.url))
    const [port] = (await once(server, 'message')) as [number]
    const bare = new modbusSerial.default()
    await bare.connectTCP('127.0.0.1', { port })
    bare.setID(1)
    // Without a limit it waits for ever; every user sets one.
    bare.setTimeout(1_000)
    const busOf = (inFlight: number) =>
      new Bus({
        id: `127.0.0.1:${port}`,
        endpoint: { kind: 'tcp', host: '127.0.0.1', port },
        settings: {
          inFlight,
          silenceMs: 0,
          unitSwitchMs: 0,
          lateGraceMs: 500,
          copyGraceMs: 0,
          localEcho: false,
          connections: 1,
          idleCloseMs: 0,
          connectTimeoutMs: 3_000,
        },
        createTransport: (endpoint) => createTransport(endpoint, { clock: systemClock, logger: silentLogger }),
        clock: systemClock,
        random: Math.random,
        claimConnect: () => 0,
        onState: () => {},
      })
    const buses = new Map([1, 8].map((width) => [width, busOf(width)]))
    const wait = () => ({ timeoutMs: 1_000 })
    const viaQueue = (width: number) => async () => {
      const call = { fc: 3, address: 0, count: COUNT } as const
      const bus = buses.get(width)!
      const answer = await bus.submit({ device: 'd', unit: 1, kind: 'read', call, wait, limit: 100 })
      return answer.values.length
    }
    const viaBare = async () => (await bare.readHoldingRegisters(0, COUNT)).data.length
    try {
      const figures: Figure[] = []
      const ratios: Ratio[] = []
      for (const width of [1, 8]) {
        const bare = () => pipelined(calls, width, viaBare)
        const queued = () => pipelined(calls, width, viaQueue(width))
        const pairs = await measurePairs(bare, queued, calls, rounds * SLICES)
        const of = (one: 'bare' | 'queue', what: 'wall' | 'cpu') => median(pairs.map((pair) => pair[one][what]))
        for (const one of ['bare', 'queue'] as const) {
          const name = one === 'bare' ? 'modbus-serial' : 'queue'
          figures.push(
            { label: `${name}, ${width} in flight: time`, value: of(one, 'wall'), unit: 'us/read' },
            { label: `${name}, ${width} in flight: CPU`, value: of(one, 'cpu'), unit: 'us/read' },
          )
        }
        const share = (what: 'wall' | 'cpu') => median(pairs.map(({ bare, queue }) => bare[what] / queue[what]))
        figures.push({ label: `modbus-serial / queue, ${width} in flight, CPU`, value: share('cpu'), unit: '' })
        ratios.push({
          label: `queue / modbus-serial, ${width} in flight, rate`,
          value: share('wall'),
          target: width === 1 ? 0.85 : 0.8,
          bound: 'at least',
        })
      }
      return { figures, ratios }
    } finally {
      await Promise.all([...buses.values()].map((bus) => bus.stop(1_000)))
      await new Promise<void>((resolve) => bare.close(() => resolve()))
      server.disconnect()
    }
  },
}

export default benchmark
