import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import type { StoredMessage } from '../../../core/delivery/delivery-store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import type { WorkerAssignment, WorkerRole } from '../../../core/workers/protocol.js'
import type { GatewayServices } from '../../../core/workers/services.js'
import { SessionBook } from '../../../core/workers/session-book.js'
import { Supervisor, type SupervisorOptions } from '../../../core/workers/supervisor.js'

/** More than a loaded machine needs until the tiny program has ended; nothing waits for all of it. */
const STOP_MS = 30_000

// Compiled once: a loader in each of the many would take most of the time.
const compiled = mkdtempSync(join(tmpdir(), 'routemq-tiny-worker-'))
after(() => rmSync(compiled, { recursive: true, force: true }))
const tinyWorker = join(compiled, 'tiny-worker.mjs')
buildSync({ entryPoints: [fileURLToPath(new URL('./tiny-worker.ts', import.meta.url))], outfile: tinyWorker })

const slot = (number: number): WorkerRole => ({ kind: 'slot', slot: number })

/** A supervisor over real processes that run a tiny program. `env` is what those processes see. */
function supervised(
  t: TestContext,
  slots: number,
  env: Readonly<Record<string, string>> = {},
  changes: Partial<SupervisorOptions> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-supervisor-'))
  const log = join(folder, 'log')
  Object.assign(process.env, { TINY_LOG: log, ...env })
  const lost: string[] = []
  const unparked: string[] = []
  const fatal: string[] = []
  const book = SessionBook.open(join(folder, 'sessions.json'))
  const services = { store: { unpark: async (id: string) => void unparked.push(id) } } as unknown as GatewayServices
  const supervisor = new Supervisor({
    entry: tinyWorker,
    execArgv: [],
    args: [],
    services: () => services,
    onLost: (worker, { died }) => lost.push(died ? worker : `${worker} as told`),
    assignment: async (role, count) => ({ role, slots: count }) as WorkerAssignment,
    slots,
    filters: (_role, count) => ({ all: [`${count}`], alone: ['alone'] }),
    book,
    memoryLimitMb: 1_000,
    stallMs: 0,
    logger: silentLogger,
    clock: systemClock,
    onFatal: (error) => fatal.push(error.code),
    ...changes,
  })
  t.after(async () => {
    await supervisor.stop(200)
    for (const name of ['TINY_LOG', ...Object.keys(env)]) delete process.env[name]
    rmSync(folder, { recursive: true, force: true })
  })
  const told = (worker: string) =>
    (existsSync(log) ? readFileSync(log, 'utf8') : '')
      .split('\n')
      .filter((line) => line.startsWith(`${worker} `))
      .map((line) => line.slice(worker.length + 1))
  const report = (name: string) => supervisor.reports().find((one) => one.name === name)!
  const brokerAway = (away: boolean) => (away ? writeFileSync(`${log}.away`, '') : rmSync(`${log}.away`))
  return { supervisor, book, lost, unparked, fatal, told, report, brokerAway }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const endsAt = performance.now() + 90_000
  while (!condition()) {
    if (performance.now() > endsAt) assert.fail(`not within 90 s: ${what}`)
    await pause(10)
  }
}

const message = (topic: string) => ({ route: 'r', topic }) as StoredMessage

test('workers start, are ready with their sessions in the book, and stop with their sessions kept', async (t) => {
  const { supervisor, book, told, lost } = supervised(t, 2)
  await supervisor.start([slot(1), slot(2)])
  assert.equal(supervisor.allReady, true)
  assert.deepEqual(
    book
      .all()
      .map(({ clientId }) => clientId)
      .sort(),
    ['client-slot-1', 'client-slot-2'],
  )
  await supervisor.stop(STOP_MS)
  assert.deepEqual(
    supervisor.reports().map(({ state, pid }) => [state, pid]),
    [
      ['stopped', undefined],
      ['stopped', undefined],
    ],
  )
  assert.equal(told('slot-1').at(-1), 'stop keep')
  assert.deepEqual(lost.sort(), ['slot-1 as told', 'slot-2 as told'])
  assert.equal(book.all().length, 2)
})

test('a worker that is killed while it serves is replaced at once and what it held is handed on', async (t) => {
  const { supervisor, lost, report } = supervised(t, 1)
  await supervisor.start([slot(1)])
  const { pid } = report('slot-1')
  process.kill(pid!, 'SIGKILL')
  await until('it is replaced', () => report('slot-1').state === 'ready' && report('slot-1').pid !== pid)
  assert.deepEqual(lost, ['slot-1'])
  assert.equal(report('slot-1').restarts, 1)
})

test('one that never becomes ready is named with its reason, backs off, and keeps the product from being ready', async (t) => {
  const { supervisor, report } = supervised(t, 2, { TINY_FAILS: 'slot-2' })
  await supervisor.start([slot(1), slot(2)])
  assert.equal(supervisor.allReady, false)
  assert.equal(report('slot-2').state, 'waiting')
  assert.match(report('slot-2').reason ?? '', /ROUTER_INVALID: no such router \(exit code 1\)/)
  assert.equal(report('slot-1').state, 'ready')
})

test('one that does not load within its limit is killed, tried again with growing pauses, and not ready meanwhile', async (t) => {
  const limit = 54_321
  const limits = new Set<() => void>()
  const clock: Clock = {
    ...systemClock,
    // The test says when that time is over.
    after: (ms, run, options) => {
      if (ms !== limit) return systemClock.after(ms, run, options)
      limits.add(run)
      return () => void limits.delete(run)
    },
  }
  const pauses: number[] = []
  const logger = { ...silentLogger, error: (facts: object) => pauses.push((facts as { retryInMs: number }).retryInMs) }
  const { supervisor, report, told, lost } = supervised(
    t,
    1,
    { TINY_STUCK: 'slot-1' },
    { bootLimitMs: limit, clock, logger },
  )
  const started = supervisor.start([slot(1)])
  for (const round of [1, 2]) {
    await until('it was told what to load', () => told('slot-1').filter((line) => line === 'assign').length === round)
    assert.equal(supervisor.allReady, false)
    assert.equal(report('slot-1').state, 'starting')
    assert.equal(limits.size, 1)
    for (const run of limits) run()
    await until('it is gone', () => pauses.length === round)
    assert.equal(supervisor.allReady, false)
    assert.match(report('slot-1').reason ?? 'none', /did not load within 54.321 s \(SIGKILL\)/)
    assert.equal(report('slot-1').state, 'waiting')
    // The one that is forked after the second pause has nothing to wait for.
    if (round === 2) delete process.env.TINY_STUCK
  }
  await started
  await until('it is ready', () => supervisor.allReady)
  assert.equal(report('slot-1').restarts, 2)
  assert.ok(pauses[0]! >= 250 && pauses[0]! <= 500 && pauses[1]! >= 500 && pauses[1]! <= 1_000, pauses.join())
  assert.deepEqual(lost, ['slot-1', 'slot-1'])
  assert.equal(limits.size, 0, 'a worker that has loaded may wait for its broker as long as it takes')
})

test('a worker whose lanes lose the broker is not ready until they have it again', async (t) => {
  const { supervisor, report, unparked } = supervised(t, 1)
  await supervisor.start([slot(1)])
  assert.deepEqual(await supervisor.run(message('a'), false), { ok: true, value: 'a' })
  assert.equal(supervisor.allReady, false)
  assert.match(report('slot-1').reason ?? '', /not connected to the broker/)
  await supervisor.run(message('b'), true)
  assert.equal(supervisor.allReady, true)
  await until('its calls are served', () => unparked.length === 2)
  assert.deepEqual(unparked, ['a', 'b'])
})

test('a message that is run in a worker that dies ends with WORKER_LOST', async (t) => {
  const { supervisor } = supervised(t, 1)
  await supervisor.start([slot(1)])
  const outcome = await supervisor.run(message('die'), false)
  assert.equal(!outcome.ok && outcome.error.code, 'WORKER_LOST')
})

test('scaling adds before it changes, and those that go drain and end their sessions', async (t) => {
  const { supervisor, book, told } = supervised(t, 3)
  await supervisor.start([slot(1), slot(2), slot(3)])
  await supervisor.scale(1, STOP_MS)
  assert.deepEqual(
    supervisor.reports().map(({ name }) => name),
    ['slot-1'],
  )
  assert.deepEqual(
    book.all().map(({ clientId }) => clientId),
    ['client-slot-1'],
  )
  assert.equal(told('slot-3').at(-1), 'stop leave')
  assert.deepEqual(
    told('slot-1').filter((line) => line.startsWith('slots')),
    ['slots=3', 'slots=1'],
  )
  await until('parked messages are taken over', () => told('slot-1').at(-1) === 'take_over')
  await assert.rejects(supervisor.restart('slot-3', 100), { code: 'WORKER_UNKNOWN' })
})

test('a rolling restart replaces one after the other', async (t) => {
  const { supervisor, report } = supervised(t, 2)
  await supervisor.start([slot(1), slot(2)])
  const before = [report('slot-1').pid, report('slot-2').pid]
  await supervisor.restart(undefined, STOP_MS)
  assert.equal(supervisor.allReady, true)
  assert.notEqual(report('slot-1').pid, before[0])
  assert.notEqual(report('slot-2').pid, before[1])
})

test('a worker that does not stop in time is killed', async (t) => {
  const { supervisor, report } = supervised(t, 1, { TINY_HANGS: 'slot-1' })
  await supervisor.start([slot(1)])
  await supervisor.stop(50)
  assert.equal(report('slot-1').pid, undefined)
})

test('a session that nobody opens is adopted, and given back before its owner connects', async (t) => {
  const { supervisor, book, told, report } = supervised(t, 2)
  book.hold([{ clientId: 'client-of-old', lane: 'slot-9/shared', subscriptions: [] }])
  book.hold([{ clientId: 'other-of-2', lane: 'slot-2/extra', subscriptions: [] }])
  await supervisor.start([slot(1), slot(2)])
  await until('both are adopted', () => told('slot-1').filter((line) => line.startsWith('adopt ')).length === 2)
  const { pid } = report('slot-2')
  process.kill(pid!, 'SIGKILL')
  await until('it is back', () => report('slot-2').state === 'ready' && report('slot-2').pid !== pid)
  assert.deepEqual(
    told('slot-1').filter((line) => line.startsWith('let_go ')),
    ['let_go other-of-2'],
  )
  assert.ok(!told('slot-1').includes('adopt client-slot-2'), 'its own sessions were never lent')
})

test('a worker that says nothing any more is killed and replaced', async (t) => {
  // The tiny program never says that it turns.
  const { supervisor, lost, report } = supervised(t, 1, {}, { stallMs: 1_000 })
  await supervisor.start([slot(1)])
  await until('it is replaced', () => report('slot-1').restarts > 0)
  assert.equal(lost[0], 'slot-1')
})

const filters = (byWorker: Record<string, string[]>) => ({ TINY_FILTERS: JSON.stringify(byWorker) })
const shared = filters({ 'slot-1': ['a'], 'slot-2': ['a'], solo: ['a'] })

test('the session of a worker that is alone with a route waits for it however long it is down', async (t) => {
  const { supervisor, told, report } = supervised(t, 3, filters({ 'slot-2': ['alone', 'a'], 'slot-3': ['a'] }))
  await supervisor.start([slot(1), slot(2), slot(3)])
  t.after(() => {
    delete process.env.TINY_FAILS
  })
  process.env.TINY_FAILS = 'slot-2,slot-3'
  for (const name of ['slot-2', 'slot-3']) process.kill(report(name).pid!, 'SIGKILL')
  await until('the other session is adopted', () => told('slot-1').includes('adopt client-slot-3'))
  assert.ok(!told('slot-1').includes('adopt client-slot-2'))
  await until('what the other had parked is finished too', () => told('slot-1').includes('take_over'))
})

test('a session ends at a restart only where another slot has its filters', async (t) => {
  const { supervisor, told } = supervised(t, 2, shared)
  await supervisor.start([{ kind: 'solo' }, slot(1)])
  await supervisor.restart('slot-1', STOP_MS)
  assert.ok(told('slot-1').includes('stop keep'), 'what solo has does not count')
  await supervisor.scale(2, STOP_MS)
  await supervisor.restart('slot-2', STOP_MS)
  assert.ok(told('slot-2').includes('stop leave'))
})

test('a roll stops at the first worker that does not get ready, and nobody goes then', async (t) => {
  const { supervisor, report } = supervised(t, 2, shared)
  t.after(() => {
    delete process.env.TINY_FAILS
  })
  await supervisor.start([slot(1), slot(2)])
  const { pid } = report('slot-2')
  process.env.TINY_FAILS = 'slot-1'
  await assert.rejects(supervisor.restart(undefined, STOP_MS), { code: 'WORKER_LOST', message: /no such router/ })
  await assert.rejects(supervisor.scale(1, STOP_MS), { code: 'WORKER_LOST' })
  assert.deepEqual([report('slot-2').state, report('slot-2').pid], ['ready', pid])
  delete process.env.TINY_FAILS
  await supervisor.restart('slot-1', STOP_MS)
  await supervisor.scale(1, STOP_MS)
  assert.deepEqual(
    supervisor.reports().map(({ name, state }) => [name, state]),
    [['slot-1', 'ready']],
  )
})

test('a worker over its memory limit is replaced after the change that is under way, and keeps what it is alone with', async (t) => {
  const { supervisor, told, report } = supervised(t, 1, shared)
  await supervisor.start([slot(1)])
  const { pid } = report('slot-1')
  supervisor.useCredentials({ username: undefined, password: undefined, database: { kind: 'none' } })
  await until('it is replaced', () => report('slot-1').state === 'ready' && report('slot-1').pid !== pid)
  assert.ok(told('slot-1').includes('stop keep'))
  assert.equal(told('slot-1').filter((line) => line === 'connect').length, 2)
})

test('a restart while the broker is away is given up, and the next one is not behind it for ever', async (t) => {
  const { supervisor, report, brokerAway } = supervised(t, 1)
  await supervisor.start([slot(1)])
  brokerAway(true)
  await assert.rejects(supervisor.restart('slot-1', 100), { code: 'WORKER_LOST', message: /not subscribed yet/ })
  assert.equal(report('slot-1').state, 'starting')
  brokerAway(false)
  await supervisor.restart('slot-1', STOP_MS)
  assert.equal(report('slot-1').state, 'ready')
})
