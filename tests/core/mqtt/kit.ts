import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext } from 'node:test'
import type { MqttConfig } from '../../../core/config/config.js'
import { startEmbeddedBroker } from '../../../core/mqtt/embedded-broker.js'
import { Lane, type LaneOptions } from '../../../core/mqtt/lane.js'
import type { InboundMessage } from '../../../core/mqtt/message.js'
import { PublishingLink, type PublishingLinkOptions } from '../../../core/mqtt/publishing-link.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { PlannedSubscription } from '../../../core/router/route.js'
import { freePort } from '../support/free-port.js'

export { freePort }

const MOSQUITTO = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/opt/homebrew/sbin/mosquitto'].find(existsSync)

/** Skips loudly, or fails where the servers are required, when there is no mosquitto to start. */
export function needsMosquitto(t: TestContext): boolean {
  const missing = missingMosquitto()
  if (missing !== undefined) t.skip(missing)
  return missing === undefined
}

function missingMosquitto(): string | undefined {
  if (MOSQUITTO !== undefined) return undefined
  if (process.env.ROUTEMQ_TEST_SERVICES === 'required') assert.fail('mosquitto is required and not installed')
  return 'mosquitto is not installed: nothing to test against'
}

const leftovers = new Set<() => Promise<unknown>>()

/** Ends what a failed test left behind, so that the process can end. */
export async function cleanUp(): Promise<void> {
  const all = [...leftovers]
  leftovers.clear()
  await Promise.allSettled(all.map((end) => end()))
}

export function atCleanUp(end: () => Promise<unknown>): void {
  leftovers.add(end)
}

/** No leave or drain of these tests takes as long, however busy the machine is. */
export const LIMIT_MS = 30_000

export interface TestBroker {
  readonly url: string
  readonly port: number
  stop(): Promise<void>
}

export interface Mosquitto extends TestBroker {
  readonly pid: number
  /** SIGTERM and a new process on the same port and database. */
  restart(awayMs?: number): Promise<void>
  down(): Promise<void>
  up(): Promise<void>
}

// A test that fails before it stops its broker must not keep the process alive, nor leave the broker behind.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** An own mosquitto with settings that do not drop. It saves its sessions when it is stopped; saving at every change is slow. */
export async function startMosquitto(
  extra: readonly string[] = [],
  listener?: (port: number) => string,
): Promise<Mosquitto> {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-mosquitto-'))
  const port = await freePort()
  const file = join(folder, 'mosquitto.conf')
  await writeFile(
    file,
    [
      listener?.(port) ?? `listener ${port} 127.0.0.1`,
      ...(extra.some((line) => line.startsWith('allow_anonymous')) ? [] : ['allow_anonymous true']),
      'max_queued_messages 100000',
      'persistence true',
      `persistence_location ${folder}/`,
      'log_type error',
      // Started by root it would become another user, who may not write into the test's folder.
      ...(process.getuid?.() === 0 ? ['user root'] : []),
      ...extra,
      '',
    ].join('\n'),
  )
  let child: ChildProcess
  const up = async () => {
    const started = spawn(MOSQUITTO!, ['-c', file], { stdio: 'ignore' })
    started.unref()
    running.add(started)
    started.once('exit', () => running.delete(started))
    child = started
    await reachable(port)
  }
  const down = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.ref()
    child.kill('SIGTERM')
    await gone
  }
  await up()
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid!
    },
    up,
    down,
    async restart(awayMs = 0) {
      await down()
      await pause(awayMs)
      await up()
    },
    async stop() {
      await down()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

interface Target {
  readonly name: string
  readonly protocol: MqttConfig['protocol']
  readonly mosquitto: boolean
  start(): Promise<TestBroker>
}

/** What the shared suites run against. */
const TARGETS: readonly Target[] = [
  { name: 'mosquitto, MQTT 5', protocol: 5, mosquitto: true, start: () => startMosquitto() },
  { name: 'mosquitto, MQTT 3.1.1', protocol: 4, mosquitto: true, start: () => startMosquitto() },
  {
    name: 'embedded broker',
    protocol: 'auto',
    mosquitto: false,
    async start() {
      const broker = await startEmbeddedBroker({ port: 0, mayMove: false, logger: silentLogger })
      return { url: broker.url, port: broker.port, stop: () => broker.close() }
    },
  },
]

/** The tests of a suite; `broker` is there when they run, not yet when they are declared. */
type BrokerSuite = (target: Target, broker: TestBroker) => void

/** The suite against every broker, each started for it alone, one test after another. */
export function onEachBroker(what: string, suite: BrokerSuite): void {
  onBrokers(what, suite, false)
}

/** The same with all brokers and all tests at the same time. */
export function onAllBrokersAtOnce(what: string, suite: BrokerSuite): void {
  onBrokers(what, suite, true)
}

function onBrokers(what: string, suite: BrokerSuite, concurrency: boolean): void {
  describe(what, { concurrency }, () => {
    const brokers: TestBroker[] = []
    after(async () => {
      await cleanUp()
      for (const broker of brokers) await broker.stop()
    })
    for (const target of TARGETS) {
      const skip = target.mosquitto ? (missingMosquitto() ?? false) : false
      describe(`${what} on ${target.name}`, { concurrency, skip }, () => {
        let started: TestBroker
        before(async () => {
          started = await target.start()
          brokers.push(started)
        })
        suite(target, {
          get url() {
            return started.url
          },
          get port() {
            return started.port
          },
          stop: () => started.stop(),
        })
      })
    }
  })
}

export function mqttConfig(changes: Partial<MqttConfig> = {}): MqttConfig {
  return {
    url: undefined,
    embedded: { port: 0, mayMove: true },
    username: undefined,
    password: undefined,
    clientId: 'routemq',
    groupName: 'routemq',
    protocol: 'auto',
    tls: { rejectUnauthorized: true },
    keepaliveSeconds: 30,
    sessionExpirySeconds: 3_600,
    window: { messages: 100, bytes: 8 * 1_048_576 },
    maxPacketBytes: 1_048_576,
    replyPrefixes: ['+/+/+/response', 'routemq/reply/#'],
    outboxBytes: 16 * 1_048_576,
    ackHoldMs: 2_000,
    ...changes,
  }
}

export function subscription(filter: string, changes: Partial<PlannedSubscription> = {}): PlannedSubscription {
  return {
    id: 1,
    filter,
    qos: 1,
    shared: filter.startsWith('$share/'),
    lane: 'default',
    slots: 'solo',
    routes: [],
    ...changes,
  }
}

/** A lane over `url` that records what comes and settles each message as `handle` says. */
export function testLane(
  url: string,
  filters: readonly string[] | readonly PlannedSubscription[],
  changes: Partial<LaneOptions> & {
    handle?: (message: InboundMessage, settle: () => void) => void
    protocol?: 4 | 5 | 'auto'
  } = {},
): { lane: Lane; messages: InboundMessage[]; texts: () => string[] } {
  const { handle = (_message, settle) => settle(), protocol = 'auto', ...rest } = changes
  const messages: InboundMessage[] = []
  const config = rest.config ?? mqttConfig({ protocol })
  const lane = new Lane({
    config,
    url,
    clientId: unique('lane'),
    name: 'default',
    subscriptions: filters.map((filter, index) =>
      typeof filter === 'string' ? subscription(filter, { id: index + 1 }) : filter,
    ),
    window: config.window,
    onMessage: (message, settle) => {
      messages.push(message)
      handle(message, settle)
    },
    logger: silentLogger,
    ...rest,
  })
  leftovers.add(() => lane.stop())
  return { lane, messages, texts: () => messages.map(({ payload }) => payload.toString()) }
}

export async function testLink(
  url: string,
  changes: Partial<PublishingLinkOptions> & { protocol?: 4 | 5 | 'auto' } = {},
) {
  const { protocol = 'auto', ...rest } = changes
  const link = new PublishingLink({
    config: mqttConfig({ protocol }),
    url,
    clientId: unique('pub'),
    logger: silentLogger,
    ...rest,
  })
  leftovers.add(() => link.stop())
  await link.start()
  return link
}

export function unique(prefix: string): string {
  return `${prefix}-${randomUUID().slice(0, 13)}`
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits until `test` holds; fails with `what` after `limitMs`. */
export async function eventually(test: () => boolean, what: string | (() => string), limitMs = 30_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!test()) {
    if (performance.now() > end) assert.fail(`not within ${limitMs} ms: ${typeof what === 'string' ? what : what()}`)
    await pause(5)
  }
}

/**
 * Runs `body`, and again where it failed while this process was kept from running for `limitMs`: a broker is right to give
 * up on a client that is silent for longer than its keepalive.
 */
export async function undisturbed(limitMs: number, body: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    let last = performance.now()
    let longest = 0
    const beat = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 20)
    try {
      return await body()
    } catch (error) {
      longest = Math.max(longest, performance.now() - last)
      if (longest < limitMs || attempt === 5) throw error
      console.log(`again: this process did not run for ${Math.round(longest)} ms`)
    } finally {
      clearInterval(beat)
    }
  }
}

async function reachable(port: number): Promise<void> {
  for (let attempt = 0; attempt < 1_200; attempt += 1) {
    const ok = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.once('error', () => resolve(false))
    })
    if (ok) return
    await pause(25)
  }
  throw new Error(`nothing listens on ${port}`)
}
