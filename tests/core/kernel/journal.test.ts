import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import type { Store } from '../../../core/database/store.js'
import { Journal, type JournalOptions } from '../../../core/kernel/journal.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { SpoolQueue } from '../../../core/spool/late-spool.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { openStore, ownDatabase } from '../database/databases.js'
import { until } from '../support/until.js'

let dir: string
let spool: Spool
let store: Store
let drop: () => Promise<void>
const away = () => new RouteMQError('DATABASE_UNAVAILABLE', 'gone', { details: { state: 'disconnected' } })
const entry = (subject: string): AuditInput => ({
  actor: { kind: 'http', name: 'test' },
  action: 'write',
  subject,
  outcome: 'ok',
})

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'routemq-journal-'))
  spool = await Spool.open({ dir, maxBytes: 1_000_000 })
  const own = await ownDatabase('sqlite')
  drop = own.drop
  store = await openStore(own.config)
})

afterEach(async () => {
  await store.close()
  await spool.close()
  await drop()
  await rm(dir, { recursive: true })
})

function journal(options: Partial<JournalOptions<AuditInput>> = {}): Journal<AuditInput> {
  const write = (entries: readonly AuditInput[]) => store.audit.append(entries)
  return new Journal({ name: 'audit', spool, writable: () => true, write, logger: silentLogger, ...options })
}

const subjects = async () => (await store.audit.list()).map(({ subject }) => subject).reverse()

test('an entry that was committed and never answered is there once', async () => {
  let answers = 0
  const losing = journal({
    async write(entries) {
      await store.audit.append(entries)
      answers += 1
      if (answers === 1) throw away()
    },
  })
  await losing.put(entry('a'))
  await losing.replay()
  await losing.put(entry('b'))
  assert.equal(losing.waiting, 0)
  assert.deepEqual(await subjects(), ['a', 'b'])
})

test('a process that ends between writing and acknowledging leaves each entry once', async () => {
  const first = journal({ writable: () => false })
  await first.put(entry('a'))
  await first.put(entry('b'))
  // Written by a process that did not live to acknowledge it in the spool.
  const waiting = await spool.peek(10)
  await store.audit.append(waiting.map(({ data }) => JSON.parse(data.toString()) as AuditInput))
  const second = journal()
  await second.replay()
  assert.equal(second.waiting, 0)
  assert.deepEqual(await subjects(), ['a', 'b'])
})

test('an entry that waited has the time at which it happened, and keeps its place', async () => {
  let there = false
  const late = journal({ writable: () => there })
  const before = Date.now()
  await late.put(entry('early'))
  const between = Date.now()
  await new Promise((resolve) => setTimeout(resolve, 30))
  there = true
  await late.put(entry('late'))
  await late.replay()
  assert.deepEqual(await subjects(), ['early', 'late'])
  const [, early] = await store.audit.list()
  const at = Date.parse(early!.time)
  assert.ok(at >= before && at <= between, `${early!.time} is not between ${before} and ${between}`)
})

test('an entry that the database refuses does not stand in the way of those behind it', async () => {
  let there = false
  const errors: unknown[] = []
  const logger = { ...silentLogger, error: (facts: unknown) => errors.push(facts) } as typeof silentLogger
  const picky = journal({
    logger,
    writable: () => there,
    async write(entries) {
      if (entries.some(({ subject }) => subject === 'bad'))
        throw Object.assign(new Error('value too long'), { code: '22001' })
      await store.audit.append(entries)
    },
  })
  for (const subject of ['a', 'bad', 'b']) await picky.put(entry(subject))
  there = true
  await picky.replay()
  assert.equal(picky.waiting, 0)
  assert.deepEqual(await subjects(), ['a', 'b'])
  assert.equal(errors.length, 1)
})

test('an entry that waits for rights or locks stays, and is written when they are there', async () => {
  let refusing = true
  const waiting = journal({
    retryMs: 10,
    async write(entries) {
      if (refusing) throw Object.assign(new Error('permission denied'), { code: '42501' })
      await store.audit.append(entries)
    },
  })
  await waiting.put(entry('a'))
  await waiting.put(entry('b'))
  await waiting.replay()
  assert.equal(waiting.waiting, 2)
  refusing = false
  await until(() => waiting.waiting === 0)
  assert.deepEqual(await subjects(), ['a', 'b'])
  await waiting.stop()
})

test('what waits is tried again by itself', async () => {
  let failures = 2
  const stubborn = journal({
    retryMs: 10,
    async write(entries) {
      failures -= 1
      if (failures >= 0) throw away()
      await store.audit.append(entries)
    },
  })
  await stubborn.put(entry('a'))
  await until(() => stubborn.waiting === 0)
  assert.deepEqual(await subjects(), ['a'])
  await stubborn.stop()
})

test('what finds no place is kept as soon as there is one, and until then nothing more may be done', async () => {
  let full = true
  const gate = (): void => {
    if (full) throw away()
  }
  const closed = {
    get count() {
      return spool.count
    },
    append: async (records: readonly Buffer[]) => {
      gate()
      return spool.append(records)
    },
  } as unknown as Spool
  const failing = journal({
    spool: closed,
    write: async (entries) => {
      gate()
      await store.audit.append(entries)
    },
  })
  assert.equal(failing.ready(), undefined, 'nothing has failed yet')
  await assert.rejects(failing.put(entry('a')), { code: 'DATABASE_UNAVAILABLE' })
  await assert.rejects(async () => failing.ready(), { code: 'AUDIT_UNAVAILABLE', message: /gone/ })
  await assert.rejects(failing.put(entry('b')), { code: 'AUDIT_UNAVAILABLE' })
  assert.deepEqual(await subjects(), [])
  full = false
  await failing.ready()
  assert.deepEqual(await subjects(), ['a', 'b'])
  assert.equal(failing.ready(), undefined)
  await failing.put(entry('c'))
  assert.deepEqual(await subjects(), ['a', 'b', 'c'])
})

test('a record of the spool that is no entry is told, and stands in nobody’s way', async () => {
  const told: string[] = []
  const logger = { ...silentLogger, error: (_: object, sentence?: string) => void told.push(sentence ?? '') }
  await spool.append([Buffer.from('{"cut'), Buffer.from(JSON.stringify(entry('a')))])
  const patient = journal({ logger })
  await patient.replay()
  assert.deepEqual(await subjects(), ['a'])
  assert.equal(patient.waiting, 0)
  assert.deepEqual(told, ['a record of the spool is no entry'])
})

test('what waits is told from half of the spool on, and no more once the database has it', async () => {
  let isThere = false
  const waiting = journal({ writable: () => isThere })
  const size = () => spool.bytes / spool.maxBytes
  const long = 'x'.repeat(100_000)
  while (size() < 0.5) {
    assert.equal(waiting.notice, undefined)
    await waiting.put(entry(long))
  }
  assert.match(waiting.notice ?? '', /^what waits for the database fills 5\d % of the audit spool \(1000000 bytes\)$/)
  isThere = true
  await waiting.replay()
  assert.equal(waiting.notice, undefined)
})

test('a database that comes back to an empty spool is no reason to leave entries there the next time', async () => {
  let isAway = false
  const moving = journal({ writable: () => !isAway })
  await moving.replay()
  isAway = true
  await moving.put(entry('a'))
  isAway = false
  await moving.replay()
  assert.deepEqual([await subjects(), moving.waiting], [['a'], 0])
  await moving.stop()
})

test('while neither database nor disk takes entries, what must be journalled is refused before it happens', async () => {
  let full = true
  let isAway = true
  const disk = (): SpoolQueue => ({
    append: (records) => (full ? Promise.reject(noRoom()) : spool.append(records)),
    tryWriting: () => (full ? Promise.reject(noRoom()) : spool.tryWriting()),
    peek: (...how) => spool.peek(...how),
    read: (after) => spool.read(after),
    ack: (position) => spool.ack(position),
    dropOldest: (bytes) => spool.dropOldest(bytes),
    get bytes() {
      return spool.bytes
    },
    get count() {
      return spool.count
    },
    maxBytes: spool.maxBytes,
  })
  const told: string[] = []
  const logger = {
    ...silentLogger,
    info: (_: object, text = '') => told.push(text),
    error: (_: object, text = '') => told.push(text),
  }
  const watched = journal({ spool: disk(), writable: () => !isAway, retryMs: 5, logger })
  assert.equal(watched.refusal, undefined)
  watched.watch()
  await until(() => watched.refusal !== undefined)
  assert.match(watched.refusal ?? '', /no space left/)
  await assert.rejects(async () => watched.ready(), { code: 'AUDIT_UNAVAILABLE', message: /no space left/ })
  await assert.rejects(watched.put(entry('a')), { code: 'AUDIT_UNAVAILABLE' })
  full = false
  await until(() => watched.refusal === undefined && spool.count === 1)
  await watched.ready()
  isAway = false
  await watched.replay()
  assert.deepEqual(await subjects(), ['a'], 'what was refused is journalled as soon as it can be, once')
  assert.deepEqual(told, ['entries can be kept nowhere', 'entries can be kept again'])
  await watched.stop()
})

const noRoom = () => new RouteMQError('SPOOL_FAILED', 'ENOSPC: no space left on device')

test('an entry that the database neither takes nor refuses is durable in the spool, and there once', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const hanging = journal({
    confirmMs: 20,
    async write(entries) {
      await held
      await store.audit.append(entries)
    },
  })
  await hanging.put(entry('a'))
  // What a process that is killed now leaves behind.
  const [kept] = await spool.peek(1)
  assert.equal((JSON.parse(kept!.data.toString()) as AuditInput).subject, 'a')
  await hanging.put(entry('b'))
  assert.deepEqual(await subjects(), [])
  release()
  await hanging.replay()
  await hanging.stop()
  assert.equal(hanging.waiting, 0)
  assert.deepEqual(await subjects(), ['a', 'b'])
})

test('where the disk takes no entry, one that the database takes late is kept there', async () => {
  const full = { ...entry('x'), details: { text: 'x'.repeat(2_000_000) } }
  const slow = journal({
    confirmMs: 10,
    async write(entries) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      await store.audit.append(entries)
    },
  })
  await slow.put(full)
  assert.deepEqual(await subjects(), ['x'])
})
