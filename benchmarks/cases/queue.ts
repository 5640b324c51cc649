import { fork } from 'node:child_process'
import { once } from 'node:events'
import modbusSerial from 'modbus-serial'
import { Bus } from '../../core/modbus/bus/bus.js'
import { createTransport } from '../../core/modbus/transport/open.js'
import { silentLogger } from '../../core/observability/logger.js'
import { systemClock } from '../../core/support/clock.js'
import { type Benchmark, median } from '../harness.js'

const COUNT = 10

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

const benchmark: Benchmark = {
  title: 'reads of 10 registers through the queue of a bus against bare modbus-serial; same server, own process',
  async run({ short, rounds }) {
    const calls = short ? 4_000 : 20_000
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
    const viaQueue = (width: number) => async () => {
      const call = { fc: 3, address: 0, count: COUNT } as const
      const bus = buses.get(width)!
      const answer = await bus.submit({ device: 'd', unit: 1, kind: 'read', call, timeoutMs: 1_000, limit: 100 })
      return answer.values.length
    }
    const viaBare = async () => (await bare.readHoldingRegisters(0, COUNT)).data.length
    try {
      const candidates: Record<string, () => Promise<void>> = {}
      for (const width of [1, 8]) {
        candidates[`modbus-serial, ${width} in flight`] = () => pipelined(calls, width, viaBare)
        candidates[`queue, ${width} in flight`] = () => pipelined(calls, width, viaQueue(width))
      }
      const samples = new Map<string, { wall: number; cpu: number }[]>(
        Object.keys(candidates).map((name) => [name, []]),
      )
      for (const run of Object.values(candidates)) await run()
      for (let round = 0; round < rounds; round += 1) {
        for (const [name, run] of Object.entries(candidates)) {
          const [startedAt, cpuBefore] = [performance.now(), process.cpuUsage()]
          await run()
          const { user, system } = process.cpuUsage(cpuBefore)
          samples
            .get(name)!
            .push({ wall: ((performance.now() - startedAt) * 1e3) / calls, cpu: (user + system) / calls })
        }
      }
      const of = (name: string, what: 'wall' | 'cpu') => median(samples.get(name)!.map((sample) => sample[what]))
      const share = (width: number, what: 'wall' | 'cpu') =>
        of(`modbus-serial, ${width} in flight`, what) / of(`queue, ${width} in flight`, what)
      return {
        figures: [
          ...Object.keys(candidates).flatMap((name) => [
            { label: `${name}: time`, value: of(name, 'wall'), unit: 'us/read' },
            { label: `${name}: CPU`, value: of(name, 'cpu'), unit: 'us/read' },
          ]),
          { label: 'modbus-serial / queue, 1 in flight, CPU', value: share(1, 'cpu'), unit: '' },
          { label: 'modbus-serial / queue, 8 in flight, CPU', value: share(8, 'cpu'), unit: '' },
        ],
        ratios: [
          {
            label: 'queue / modbus-serial, 1 in flight, rate',
            value: share(1, 'wall'),
            target: 0.85,
            bound: 'at least',
          },
          {
            label: 'queue / modbus-serial, 8 in flight, rate',
            value: share(8, 'wall'),
            target: 0.8,
            bound: 'at least',
          },
        ],
      }
    } finally {
      await Promise.all([...buses.values()].map((bus) => bus.stop(1_000)))
      await new Promise<void>((resolve) => bare.close(() => resolve()))
      server.disconnect()
    }
  },
}

export default benchmark
