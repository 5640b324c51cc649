import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DeathBook } from '../../../core/delivery/death-book.js'
import { DeathFile, type KeptSuspicion } from '../../../core/delivery/death-file.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { Router } from '../../../core/router/router.js'
import { systemClock } from '../../../core/support/clock.js'
import { bench, KeepingStore, until } from './harness.js'

/** One process after another over one gateway: what runs in a life ends when the test says so. */
function lives(book = new DeathBook(), store = new KeepingStore()) {
  const begin = (attempts: number, poison: string) => {
    const started: string[] = []
    const release: (() => void)[] = []
    const life = bench(
      (router: Router) => {
        router.on(
          'jobs/{name}',
          async (ctx) => {
            started.push(ctx.params.name)
            // The poison never gets any further: its process is gone.
            await new Promise<void>((resolve) => (ctx.params.name === poison ? undefined : release.push(resolve)))
          },
          { name: 'jobs', attempts, concurrency: 4 },
        )
      },
      { store, watch: book.forWorker('slot-1') },
    )
    const die = async () => {
      book.lost('slot-1', true)
      await life.engine.stop()
    }
    const finish = () => {
      for (const done of release.splice(0)) done()
    }
    return { ...life, started, finish, die }
  }
  return { book, store, begin }
}

test('the message that ends its process is found out, and all others run', async () => {
  const { book, store, begin } = lives()
  const names = ['a', 'poison', 'b', 'c']
  const first = begin(3, 'poison')
  for (const name of names) void first.send(`jobs/${name}`, { name })
  await until('all run', () => first.started.length === 4)
  await first.die()
  assert.equal(book.size, 0, 'what comes for the first time is not made known')

  const again = { dup: true }
  const second = begin(3, 'poison')
  for (const name of names) void second.send(`jobs/${name}`, { name }, again)
  await until('all run again', () => second.started.length === 4)
  await second.die()
  assert.equal(book.size, 4, 'any of them may have done it')

  const third = begin(3, 'poison')
  for (const name of names) void third.send(`jobs/${name}`, { name }, again)
  const fresh = third.send('jobs/new', {})
  await until('the first suspect runs, and what is under no suspicion', () => third.started.length === 2)
  assert.deepEqual(third.started.toSorted(), ['a', 'new'])
  third.finish()
  await fresh
  await until('the next has its turn', () => third.started.includes('poison'))
  assert.deepEqual(third.started.toSorted(), ['a', 'new', 'poison'], 'one suspect at a time')
  await third.die()

  const fourth = begin(3, 'poison')
  for (const name of names.slice(1)) void fourth.send(`jobs/${name}`, { name }, again)
  await until('it runs alone once more', () => fourth.started.includes('poison'))
  await fourth.die()

  const fifth = begin(3, 'poison')
  // Parked and redelivered: two copies at once.
  const given = Promise.all([1, 2].map(() => fifth.send('jobs/poison', { name: 'poison' }, again)))
  const rest = ['b', 'c'].map((name) => fifth.send(`jobs/${name}`, { name }, again))
  await given
  for (const at of [1, 2]) {
    await until('the others run', () => fifth.started.length === at)
    fifth.finish()
  }
  await Promise.all(rest)
  assert.deepEqual(fifth.started, ['b', 'c'])
  assert.deepEqual(
    store.inner.letters.map(({ topic, attempts, error }) => [topic, attempts, error.code]),
    [['jobs/poison', 3, 'WORKER_DIED']],
  )
  await fifth.send('jobs/poison', { name: 'poison' }, again)
  assert.equal(store.inner.letters.length, 1, 'another copy of it is no second letter')
  await fifth.engine.stop()
})

test('one death beside others gives nobody up, however few attempts the route allows', async () => {
  const { store, begin } = lives()
  const first = begin(1, 'poison')
  for (const name of ['a', 'poison']) void first.send(`jobs/${name}`, { name }, { dup: true })
  await until('both run', () => first.started.length === 2)
  await first.die()
  const second = begin(1, 'poison')
  const a = second.send('jobs/a', { name: 'a' }, { dup: true })
  await until('it runs', () => second.started.length === 1)
  second.finish()
  await a
  assert.deepEqual(store.inner.letters, [])
  await second.engine.stop()
})

test('a process that was told to stop accuses nobody', async () => {
  const { book, begin } = lives()
  const first = begin(3, 'poison')
  void first.send('jobs/poison', {}, { dup: true })
  await until('it runs', () => first.started.length === 1)
  book.lost('slot-1', false)
  assert.equal(book.size, 0)
  await first.engine.stop()
})

test('what was given up is forgotten after ten minutes: the same bytes are another message then', async () => {
  let now = 0
  const book = new DeathBook(undefined, { ...systemClock, monotonic: () => now })
  const watch = book.forWorker('slot-1')
  for (let death = 0; death < 2; death += 1) {
    await watch.begin('id', true)
    book.lost('slot-1', true)
  }
  await watch.begin('id', true)
  await watch.bury('id')
  now = 599_000
  assert.deepEqual(await watch.begin('id', false), { deaths: 2, buried: true })
  now = 600_000
  assert.deepEqual(await watch.begin('id', false), { deaths: 0, buried: false })
  assert.equal(book.size, 0)
})

test('a suspect that is given up and then skipped hands the turn on', async () => {
  const { begin } = lives()
  const again = { dup: true }
  for (let life = 0; life < 2; life += 1) {
    const one = begin(1, 'none')
    for (const name of ['kept', 'b']) void one.send(`jobs/${name}`, { name }, again)
    await until('one runs', () => one.started.length >= 1)
    if (life === 0) await until('both run', () => one.started.length === 2)
    await one.die()
  }
  const last = begin(1, 'none')
  const skipped = last.send('jobs/kept', { name: 'kept' }, { ...again, retain: true })
  const after = last.send('jobs/b', { name: 'b' }, again)
  await skipped
  await until('the next has its turn', () => last.started.includes('b'))
  last.finish()
  await after
  assert.deepEqual(last.started, ['b'])
  await last.engine.stop()
})

/** A file as one gateway leaves it to the next. */
function deathFile(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-suspects-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'suspects.json')
  return { path, file: new DeathFile(path, silentLogger) }
}

test('the count outlives the gateway: what ends workers does not begin anew, and is one dead letter', async (t) => {
  const { file } = deathFile(t)
  const store = new KeepingStore()
  const again = { dup: true }
  const gateway = () => lives(new DeathBook(file), store).begin(3, 'poison')

  const first = gateway()
  for (const name of ['a', 'poison']) void first.send(`jobs/${name}`, { name }, again)
  await until('both run', () => first.started.length === 2)
  await first.die()

  const second = gateway()
  for (const name of ['a', 'poison']) void second.send(`jobs/${name}`, { name }, again)
  await until('one of the two runs', () => second.started.length === 1)
  assert.deepEqual(second.started, ['a'], 'both are known, and run one at a time')
  second.finish()
  await until('the other has its turn', () => second.started.length === 2)
  await second.die()

  const third = gateway()
  void third.send('jobs/poison', { name: 'poison' }, again)
  await until('it runs once more', () => third.started.length === 1)
  await third.die()

  const fourth = gateway()
  await fourth.send('jobs/poison', { name: 'poison' }, again)
  assert.deepEqual(fourth.started, [])
  await fourth.engine.stop()

  const fifth = gateway()
  await fifth.send('jobs/poison', { name: 'poison' }, again)
  assert.deepEqual(fifth.started, [])
  assert.deepEqual(
    store.inner.letters.map(({ topic, attempts, error }) => [topic, attempts, error.code]),
    [['jobs/poison', 3, 'WORKER_DIED']],
  )
  await fifth.engine.stop()
})

test('one that ran and lived is cleared for the next gateway too', async (t) => {
  const { file, path } = deathFile(t)
  const book = new DeathBook(file)
  const watch = book.forWorker('slot-1')
  await watch.begin('a', false)
  await watch.begin('b', false)
  book.lost('slot-1', true)
  await watch.end('a')
  book.flush()
  const kept = JSON.parse(readFileSync(path, 'utf8')) as KeptSuspicion[]
  assert.deepEqual(
    kept.map(({ id, deaths }) => [id, deaths]),
    [['b', 1]],
  )
  const next = new DeathBook(file).forWorker('slot-1')
  assert.equal((await next.begin('a', false)).deaths, 0)
  assert.equal((await next.begin('b', false)).deaths, 1)
})

test('a suspicion that is old, or a file that is damaged, accuses nobody', async (t) => {
  const { file, path } = deathFile(t)
  const day = 24 * 3_600_000
  const now = Date.now()
  writeFileSync(
    path,
    JSON.stringify([
      { id: 'old', deaths: 2, diedAt: now - day - 1 },
      { id: 'recent', deaths: 2, diedAt: now - day + 600_000 },
      { id: 'given up long ago', deaths: 3, diedAt: now - 700_000, buriedAt: now - 600_001 },
      { id: 'given up now', deaths: 3, diedAt: now - 700_000, buriedAt: now - 1_000 },
      { id: 'of tomorrow', deaths: 1, diedAt: now + day },
      { id: 7, deaths: 'many' },
      null,
    ]),
  )
  const book = new DeathBook(file)
  const watch = book.forWorker('slot-1')
  const verdicts = await Promise.all(
    ['old', 'recent', 'given up long ago', 'given up now', 'of tomorrow'].map((id) => watch.begin(id, true)),
  )
  assert.deepEqual(
    verdicts.map(({ deaths, buried }) => [deaths, buried]),
    [
      [0, false],
      [2, false],
      [0, false],
      [3, true],
      [1, false],
    ],
  )
  writeFileSync(path, '[{"id":"torn')
  assert.equal(new DeathBook(file).size, 0)
})

test('where the file cannot be written the count goes on in memory', async (t) => {
  const { path } = deathFile(t)
  writeFileSync(path, '')
  const book = new DeathBook(new DeathFile(join(path, 'below a file'), silentLogger))
  const watch = book.forWorker('slot-1')
  await watch.begin('a', false)
  book.lost('slot-1', true)
  assert.equal((await watch.begin('a', false)).deaths, 1)
})
