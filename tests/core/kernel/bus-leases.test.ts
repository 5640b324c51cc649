import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { BusLeases, COMMAND, type HolderChange, type LeaseBook } from '../../../core/kernel/bus-leases.js'
import { LeaseFiles } from '../../../core/kernel/lease-files.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { TestLeaseBook } from './lease-book.js'

const TERM_MS = 8_000
const BUS = '10.0.0.5:502'
const AWAY = new RouteMQError('DATABASE_UNAVAILABLE', 'the database is away')

function bench(t: TestContext, book: LeaseBook = new TestLeaseBook(), folder = freshFolder(t)) {
  const clock = new FakeClock()
  const changes: HolderChange[] = []
  const leases = new BusLeases({
    book,
    owner: 'plant-a',
    neighboursFile: join(folder, 'neighbours.json'),
    termMs: TERM_MS,
    reachable: (bus) => bus !== '/dev/elsewhere',
    onChange: (change) => changes.push(change),
    logger: silentLogger,
    clock,
  })
  leases.start()
  t.after(() => leases.stop())
  return { leases, clock, changes, folder }
}

function freshFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-leases-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a bus that nobody has is owned as soon as it is asked for', async (t) => {
  const { leases } = bench(t)
  assert.equal(leases.holder(BUS).mine, false, 'never before it is decided')
  await leases.decided(BUS)
  assert.deepEqual(leases.holder(BUS), { mine: true, owner: 'plant-a' })
  assert.equal(leases.decided(BUS), undefined, 'decided')
})

test('a bus of another installation is stood by for, and named', async (t) => {
  const book = new TestLeaseBook()
  book.owners.set(`bus/${BUS}`, 'plant-b')
  const { leases, changes } = bench(t, book)
  leases.want([BUS])
  await leases.decided(BUS)
  assert.deepEqual(leases.holder(BUS), { mine: false, owner: 'plant-b', reason: 'installation plant-b owns it' })
  assert.deepEqual(leases.standby(), [{ bus: BUS, owner: 'plant-b', reason: 'installation plant-b owns it' }])
  assert.deepEqual(
    changes.map(({ lost, buses }) => ({ lost, buses })),
    [{ lost: false, buses: [BUS] }],
  )
})

test('the database away: the holder goes on, and loses the bus only to the word of the database', async (t) => {
  const book = new TestLeaseBook()
  const { leases, clock, changes } = bench(t, book)
  leases.want([BUS])
  await leases.decided(BUS)
  book.failure = AWAY
  for (let second = 0; second < 120; second += 1) await clock.advance(1_000)
  assert.equal(leases.holder(BUS).mine, true)
  book.owners.set(`bus/${BUS}`, 'plant-b')
  book.failure = undefined
  await clock.advance(TERM_MS / 4)
  assert.equal(leases.holder(BUS).mine, false)
  assert.deepEqual(changes.at(-1)?.lost, true)
})

test('started while the database is away: alone it opens its buses, with a known neighbour it stands by', async (t) => {
  const book = new TestLeaseBook()
  book.failure = AWAY
  const first = bench(t, book)
  await first.leases.decided(BUS)
  assert.equal(first.leases.holder(BUS).mine, true, 'it never saw another')

  book.failure = undefined
  book.owners.set('installation/plant-b', 'plant-b')
  const met = bench(t, book)
  await met.leases.decided(BUS)
  book.failure = AWAY
  const again = bench(t, book, met.folder)
  await again.leases.decided(BUS)
  const holder = again.leases.holder(BUS)
  assert.equal(holder.mine, false)
  assert.match(holder.mine ? '' : holder.reason, /database is away.*plant-b/)
})

test('a process that stood still for a term owns nothing until the database has spoken', async (t) => {
  const book = new TestLeaseBook()
  const { leases, clock } = bench(t, book)
  leases.want([BUS])
  await leases.decided(BUS)
  book.owners.set(`bus/${BUS}`, 'plant-b')
  clock.standStill(TERM_MS * 2)
  assert.equal(leases.holder(BUS).mine, false, 'before any timer ran')
  await leases.decided(BUS)
  assert.equal(leases.holder(BUS).owner, 'plant-b')
})

test('what the database said before the process stood still decides nothing', async (t) => {
  const book = new TestLeaseBook()
  const { leases, clock } = bench(t, book)
  leases.want([BUS])
  await leases.decided(BUS)
  let arrive = () => {}
  book.underWay = new Promise((resolve) => {
    arrive = resolve
  })
  await clock.advance(TERM_MS / 4)
  // The database has answered that the bus is ours, and the process is stopped before it reads that.
  book.owners.set(`bus/${BUS}`, 'plant-b')
  clock.standStill(TERM_MS * 2)
  await clock.advance(0)
  const { asked } = book
  let isMine = false
  const seen = () => {
    isMine ||= leases.holder(BUS).mine
  }
  book.underWay = Promise.resolve()
  arrive()
  for (let turn = 0; turn < 100; turn += 1) {
    await Promise.resolve()
    seen()
  }
  assert.equal(isMine, false, 'never two owners')
  assert.equal(leases.holder(BUS).owner, 'plant-b')
  assert.equal(book.asked, asked + 1, 'asked once more')
})

test('a line of another host is not competed for where there are several installations', async (t) => {
  const book = new TestLeaseBook()
  book.owners.set('installation/plant-b', 'plant-b')
  const { leases, clock } = bench(t, book)
  await clock.advance(0)
  leases.want([BUS])
  await leases.decided(BUS)
  leases.want([BUS, '/dev/elsewhere'])
  await leases.decided('/dev/elsewhere')
  assert.equal(leases.holder(BUS).mine, true)
  assert.deepEqual(leases.holder('/dev/elsewhere'), {
    mine: false,
    owner: null,
    reason: 'there is no such line on this host',
  })
  assert.equal(book.owners.has('bus//dev/elsewhere'), false)
})

test('what is no longer wanted is given back, and everything at the end', async (t) => {
  const book = new TestLeaseBook()
  const { leases, clock } = bench(t, book)
  leases.want([BUS, 'other:502'])
  await leases.decided('other:502')
  leases.want([BUS])
  await clock.advance(3_000)
  assert.deepEqual([...book.owners.keys()].sort(), [`bus/${BUS}`, 'installation/plant-a'])
  await leases.stop()
  assert.deepEqual([...book.owners.keys()], [])
})

test('lock files: one process of a host has a bus, the next gets it when it is given back', async (t) => {
  const folder = freshFolder(t)
  const [first, second] = [new LeaseFiles(folder), new LeaseFiles(folder)]
  assert.equal((await first.acquireAll(['bus//dev/ttyUSB0'])).get('bus//dev/ttyUSB0')?.held, true)
  const refused = (await second.acquireAll(['bus//dev/ttyUSB0'])).get('bus//dev/ttyUSB0')
  assert.deepEqual(refused, { held: false, owner: `process ${process.pid}`, epoch: 1 })
  await first.releaseAll(['bus//dev/ttyUSB0'])
  assert.equal((await second.acquireAll(['bus//dev/ttyUSB0'])).get('bus//dev/ttyUSB0')?.held, true)
  await second.releaseAll(['bus//dev/ttyUSB0'])
})

test('a command that has a bus is no neighbour to stand by for', async (t) => {
  const book = new TestLeaseBook()
  book.owners.set(`bus/${BUS}`, `${COMMAND}host:1:a`)
  const { leases, folder } = bench(t, book)
  leases.want([BUS])
  await leases.decided(BUS)
  const holder = leases.holder(BUS)
  assert.deepEqual([holder.mine, holder.owner], [false, `${COMMAND}host:1:a`])
  assert.equal(existsSync(join(folder, 'neighbours.json')), false)
})
