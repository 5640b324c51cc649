import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { compiled } from '../compiled.js'
import { type Benchmark, median } from '../harness.js'

const CONNECTIONS = 32
const WARM_UP = 20_000
/** In each round the servers take so many short turns, so that what else the machine does meets all of them alike. */
const TURNS = 5
const KINDS = ['bare', 'checked', 'sidecar'] as const
type Kind = (typeof KINDS)[number]

const LABELS = {
  bare: 'Fastify route, nothing checked',
  checked: 'Fastify route with schema and key',
  sidecar: 'cached register read of the sidecar',
} as const satisfies Record<Kind, string>

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

async function serve(file: string, kind: Kind): Promise<Server> {
  const child = fork(file, [kind], { execArgv: [] })
  const [message] = (await once(child, 'message')) as [{ port: number; request: string }]
  return { child, port: message.port, request: Buffer.from(message.request) }
}

/**
 * The loads of a round, in new processes: what the optimiser of V8 makes of a server differs from one process to the next by
 * several percent, and stays so for its life.
 */
async function measure(file: string, requests: number): Promise<Record<Kind, Load>[]> {
  const servers = await Promise.all(KINDS.map((kind) => serve(file, kind)))
  try {
    for (const server of servers) await load(server, WARM_UP)
    const turns: Record<Kind, Load>[] = []
    while (turns.length < TURNS) {
      const [bare, checked, sidecar] = servers as [Server, Server, Server]
      turns.push({
        bare: await load(bare, requests),
        checked: await load(checked, requests),
        sidecar: await load(sidecar, requests),
      })
    }
    return turns
  } finally {
    for (const { child } of servers) child.kill()
  }
}

const benchmark: Benchmark = {
  title: 'a cached register read over HTTP against Fastify routes that return the same JSON',
  async run({ short, rounds }) {
    const file = await compiled('http-server.ts')
    const turns: Record<Kind, Load>[] = []
    for (let round = 0; round < rounds; round += 1) turns.push(...(await measure(file, short ? 2_000 : 8_000)))
    const figures = KINDS.flatMap((kind) => [
      { label: LABELS[kind], value: median(turns.map((turn) => turn[kind].rate)), unit: 'requests/s' },
      { label: '  processor time', value: median(turns.map((turn) => turn[kind].cpuMicros)), unit: 'µs/request' },
    ])
    const against = (other: Kind) => median(turns.map((turn) => turn[other].cpuMicros / turn.sidecar.cpuMicros))
    return {
      figures: [...figures, { label: 'cached read / bare route, by processor time', value: against('bare'), unit: '' }],
      ratios: [
        { label: 'cached read / route with schema and key', value: against('checked'), target: 0.7, bound: 'at least' },
      ],
    }
  },
}

export default benchmark
