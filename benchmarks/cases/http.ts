import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Benchmark, median } from '../harness.js'

const CONNECTIONS = 32
const WARM_UP = 20_000

const LABELS = {
  bare: 'Fastify route, nothing checked',
  checked: 'Fastify route with schema and key',
  sidecar: 'cached register read of the sidecar',
} as const

interface Server {
  readonly child: ChildProcess
  readonly port: number
  readonly request: Buffer
}

interface Load {
  /** Answers a second. */
  readonly rate: number
  /** Processor time of the server for one answer, microseconds; on a shared machine the steadier of the two. */
  readonly cpuMicros: number
}

/**
 * Sends so many requests over keep-alive connections, one in flight on each. The client only counts bytes. Counted and not
 * timed: on a loaded machine a second may be too short for the compiler to finish with a server.
 */
async function load(server: Server, requests: number): Promise<Load> {
  const size = await answerSize(server)
  const sockets: Socket[] = []
  let answers = 0
  let finish = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  for (let index = 0; index < CONNECTIONS; index += 1) {
    const socket = connect(server.port, '127.0.0.1').setNoDelay(true)
    sockets.push(socket)
    let waiting = size
    socket.on('data', (chunk: Buffer) => {
      waiting -= chunk.length
      if (waiting > 0) return
      if (waiting < 0) throw new Error('an answer was longer than the first one')
      waiting = size
      answers += 1
      if (answers === requests) finish()
      if (answers < requests) socket.write(server.request)
    })
    await once(socket, 'connect')
  }
  const before = await cpuOf(server)
  const startedAt = performance.now()
  for (const socket of sockets) socket.write(server.request)
  await finished
  const seconds = (performance.now() - startedAt) / 1_000
  const cpuMicros = ((await cpuOf(server)) - before) / answers
  for (const socket of sockets) socket.destroy()
  return { rate: answers / seconds, cpuMicros }
}

async function cpuOf({ child }: Server): Promise<number> {
  child.send('usage')
  const [usage] = (await once(child, 'message')) as [NodeJS.CpuUsage]
  return usage.user + usage.system
}

async function answerSize(server: Server): Promise<number> {
  const socket = connect(server.port, '127.0.0.1')
  socket.write(server.request)
  const [first] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  const text = first.toString('utf8')
  const head = text.indexOf('\r\n\r\n') + 4
  const length = Number(/content-length: (\d+)/i.exec(text)?.[1])
  if (!text.startsWith('HTTP/1.1 200') || !text.includes('"source":"cache"'))
    throw new Error(`not a cached read: ${text}`)
  return head + length
}

async function serve(kind: 'bare' | 'checked' | 'sidecar'): Promise<Server> {
  const child = fork(fileURLToPath(new URL('../http-server.ts', import.meta.url)), [kind])
  const [message] = (await once(child, 'message')) as [{ port: number; request: string }]
  return { child, port: message.port, request: Buffer.from(message.request) }
}

const benchmark: Benchmark = {
  title: 'a cached register read over HTTP against Fastify routes that return the same JSON',
  async run({ short, rounds }) {
    const requests = short ? 8_000 : 40_000
    const servers = { bare: await serve('bare'), checked: await serve('checked'), sidecar: await serve('sidecar') }
    const loads: Record<keyof typeof servers, Load[]> = { bare: [], checked: [], sidecar: [] }
    try {
      for (const server of Object.values(servers)) await load(server, WARM_UP)
      for (let round = 0; round < rounds; round += 1) {
        for (const [name, server] of Object.entries(servers) as [keyof typeof servers, Server][]) {
          loads[name].push(await load(server, requests))
        }
      }
    } finally {
      for (const { child } of Object.values(servers)) child.kill()
    }
    const figures = Object.entries(loads).flatMap(([name, of]) => [
      { label: LABELS[name as keyof typeof servers], value: median(of.map(({ rate }) => rate)), unit: 'requests/s' },
      { label: '  processor time', value: median(of.map(({ cpuMicros }) => cpuMicros)), unit: 'µs/request' },
    ])
    const against = (other: 'bare' | 'checked') =>
      median(loads.sidecar.map(({ cpuMicros }, round) => loads[other][round]!.cpuMicros / cpuMicros))
    return {
      figures: [...figures, { label: 'cached read / bare route, by processor time', value: against('bare'), unit: '' }],
      ratios: [
        { label: 'cached read / route with schema and key', value: against('checked'), target: 0.7, bound: 'at least' },
      ],
    }
  },
}

export default benchmark
