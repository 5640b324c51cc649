import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiled } from '../compiled.js'
import { type Benchmark, type Figure, median, type Ratio } from '../harness.js'
import { type Mosquitto, startMosquitto } from '../mosquitto.js'
import { type Flood, type Received, topicOf } from '../receive/message.js'

const SUBJECTS = {
  bare: 'mqtt.js as it comes, JSON parsed',
  'bare-tuned': 'mqtt.js, no-delay and corked acks',
  'bare-awaits': 'mqtt.js, three awaits and a parameter by hand',
  nest: 'NestJS MQTT transport, one route',
  routemq: 'RouteMQ, MQTT 5',
  'routemq-3': 'RouteMQ, MQTT 3.1.1',
} as const
type Name = keyof typeof SUBJECTS
/** Published while the receiver reads, or waiting at the broker when it begins to. */
type Form = 'live' | 'backlog'

interface Sample {
  readonly rate: number
  readonly cpu: number
}

/** Rounds that do not count: the optimiser of V8 takes that long. */
const WARM_UP = 2
/** A run that takes longer than this has lost messages. */
const LIMIT_MS = 60_000

/** One process a receiver, all connected for the whole phase, each on its own topic; they take their rounds in turn. */
async function measureAll(
  { url, port }: Mosquitto,
  { qos, form }: { readonly qos: 0 | 1; readonly form: Form },
  names: readonly Name[],
  messages: number,
  rounds: number,
) {
  const [receiver, publisherFile] = await Promise.all([
    compiled('receive/receiver.ts'),
    compiled('receive/publisher.ts'),
  ])
  const children: ChildProcess[] = []
  const open = async (file: string, args: string[], execArgv: string[] = []) => {
    const child = fork(file, args, { execArgv })
    children.push(child)
    await answer(child)
    return child
  }
  try {
    const publisher = await open(publisherFile, [String(port)])
    const samples = new Map<Name, Sample[]>()
    const receivers = new Map<Name, ChildProcess>()
    for (const name of names) {
      samples.set(name, [])
      receivers.set(name, await open(receiver, [name, url, String(qos)]))
    }
    for (let round = -WARM_UP; round < rounds; round += 1) {
      for (const [name, child] of receivers) {
        const sample = await measure(name, child, publisher, form, { topic: topicOf(name), messages, qos })
        if (round >= 0) samples.get(name)!.push(sample)
      }
    }
    return samples
  } finally {
    await Promise.all(children.map(end))
  }
}

async function measure(
  name: Name,
  child: ChildProcess,
  publisher: ChildProcess,
  form: Form,
  flood: Flood,
): Promise<Sample> {
  const gate = form === 'backlog' ? join(tmpdir(), `routemq-bench-gate-${process.pid}`) : undefined
  child.send({ expect: flood.messages, gate })
  await answer(child)
  const published = answer(publisher)
  const done = answer(child)
  done.catch(() => {})
  publisher.send(flood)
  await published
  if (gate !== undefined) await writeFile(gate, '')
  let received: Received
  try {
    received = (await done) as Received
  } catch {
    child.send({ report: true })
    throw new Error(`${name}, QoS ${flood.qos}: ${await answer(child)} of ${flood.messages} arrived, the run is void`)
  } finally {
    if (gate !== undefined) await rm(gate)
  }
  child.send({ report: true })
  const count = await answer(child)
  if (count !== flood.messages) throw new Error(`${name}: ${count} messages for ${flood.messages}, the run is void`)
  return { rate: flood.messages / received.seconds, cpu: received.cpuMicros / flood.messages }
}

async function answer(child: ChildProcess): Promise<unknown> {
  const gone = new AbortController()
  const left = once(child, 'exit', { signal: gone.signal }).then(() => {
    throw new Error('a process of the benchmark ended')
  })
  left.catch(() => {})
  try {
    const message = once(child, 'message', { signal: AbortSignal.timeout(LIMIT_MS) })
    return ((await Promise.race([message, left])) as unknown[])[0]
  } finally {
    gone.abort()
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  if (child.connected) child.disconnect()
  await gone
}

/** What is measured, with the names compared with RouteMQ and the ratio each must reach. */
const PHASES: readonly { qos: 0 | 1; form: Form; against: Partial<Record<Name, number | undefined>> }[] = [
  // Mosquitto is the limit here for all but NestJS: 2.5 times its rate does not come out of the broker.
  { qos: 0, form: 'live', against: { bare: 0.85, nest: undefined } },
  // The receiver is the limit here; three awaits written by hand already cost a bare listener a quarter of its rate.
  { qos: 0, form: 'backlog', against: { bare: undefined, 'bare-awaits': undefined, nest: 2.5 } },
  { qos: 1, form: 'live', against: { bare: 1, 'bare-tuned': 0.7 } },
]

const benchmark: Benchmark = {
  title: '100-byte JSON from mosquitto to a handler behind three middleware, acknowledged after it; compiled',
  async run({ short, rounds }) {
    const messages = short ? 20_000 : 50_000
    const figures: Figure[] = []
    const ratios: Ratio[] = []
    const broker = await startMosquitto()
    try {
      for (const phase of PHASES) {
        const rivals = Object.keys(phase.against) as Name[]
        const names: Name[] = [...rivals, 'routemq', ...(short ? [] : (['routemq-3'] as const))]
        const samples = await measureAll(broker, phase, names, messages, rounds)
        const title = `QoS ${phase.qos} ${phase.form}`
        for (const [name, of] of samples) {
          const label = `${title}, ${SUBJECTS[name]}`
          figures.push({ label, value: median(of.map(({ rate }) => rate)), unit: 'msg/s' })
          figures.push({ label: `${label}: CPU`, value: median(of.map(({ cpu }) => cpu)), unit: 'us/msg' })
        }
        for (const name of rivals) {
          // Pairs of one round: what else the machine did then met both.
          const pairs = samples.get('routemq')!.map((ours, round) => [ours, samples.get(name)![round]!] as const)
          const rate = median(pairs.map(([ours, theirs]) => ours.rate / theirs.rate))
          const cpu = median(pairs.map(([ours, theirs]) => theirs.cpu / ours.cpu))
          const label = `${title}, RouteMQ / ${name}`
          const target = phase.against[name]
          // A rate needs a machine of its own: in the short form, four processes share theirs with whatever runs beside them.
          const byRate = { label: `${label}, rate`, value: rate }
          const byCpu = { label: `${label}, processor time`, value: cpu }
          const [judged, shown] = short ? [byCpu, byRate] : [byRate, byCpu]
          figures.push({ ...shown, unit: '' })
          if (target === undefined) figures.push({ ...judged, unit: '(no target)' })
          else ratios.push({ ...judged, target, bound: 'at least' })
        }
      }
    } finally {
      await broker.stop()
    }
    return { figures, ratios }
  },
}

export default benchmark
