import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { TriggerRows } from '../../../core/database/repositories/trigger-rows.js'
import type { Store } from '../../../core/database/store.js'
import { type SharedTriggers, TriggerRecords } from '../../../core/kernel/trigger-records.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { onAllDatabasesAtOnce } from '../database/databases.js'
import { ownStore } from '../database/own-store.js'
import { until } from '../support/until.js'

const record = (value: number) => ({ field: 'f', value })

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-triggers-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** One life of an installation; where it is not stopped, it was killed. */
function life(
  file: string,
  more: { owner?: string; table?: () => SharedTriggers | undefined; clock?: FakeClock } = {},
) {
  return TriggerRecords.open({ file, owner: 'a', logger: silentLogger, clock: systemClock, ...more })
}

async function recalled(book: TriggerRecords, ...ids: number[]): Promise<unknown[]> {
  const known = await book.recall(ids)
  return ids.map((id) => known.get(id)?.value)
}

async function recordOf(book: TriggerRecords, id: number, value: number): Promise<void> {
  await book.begin([id])
  book.settle(id, record(value))
}

test('the last durable records are known after a stop', async (t) => {
  const file = join(folder(t), 'triggers.json')
  const first = await life(file)
  assert.deepEqual(await recalled(first, 1), [undefined])
  await recordOf(first, 1, 100)
  await recordOf(first, 2, 200)
  await first.begin([2])
  await first.stop()
  assert.deepEqual(await recalled(await life(file), 1, 2), [100, undefined])
})

test('killed, what rested is known, and nothing of a target whose next record had begun', async (t) => {
  const file = join(folder(t), 'triggers.json')
  const clock = new FakeClock()
  const first = await life(file, { clock })
  await recordOf(first, 1, 100)
  await recordOf(first, 2, 200)
  assert.equal(existsSync(file), false, 'a busy target costs no write for each record')
  await clock.advance(1_000)
  await until(() => existsSync(file))
  await first.begin([2])
  assert.deepEqual(await recalled(await life(file), 1, 2), [100, undefined])
  first.settle(2, record(201))
  assert.deepEqual(await recalled(await life(file), 2), [undefined], 'not yet')
  await clock.advance(1_000)
  await until(() => readFileSync(file, 'utf8').includes('201'))
  assert.deepEqual(await recalled(await life(file), 1, 2), [100, 201])
})

test('a record that begins while the one before is being written is waited for', async (t) => {
  const file = join(folder(t), 'triggers.json')
  const clock = new FakeClock()
  const first = await life(file, { clock })
  for (let value = 0; value < 50; value += 1) {
    await recordOf(first, 1, value)
    await clock.advance(1_000) // begins a write and waits for none
    await first.begin([1])
    assert.deepEqual(await recalled(await life(file), 1), [undefined])
  }
})

test('a file that cannot be written or read costs the knowledge and nothing else', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'triggers.json')
  writeFileSync(file, '[[1, {"field": "f", "val')
  const book = await life(file)
  assert.deepEqual(await recalled(book, 1), [undefined])
  await recordOf(book, 1, 100)
  await book.stop()
  rmSync(dir, { recursive: true })
  const second = await life(file)
  await recordOf(second, 1, 101)
  await second.stop()
  assert.equal(existsSync(file), false)
})

test('where the file cannot be changed it goes, rather than say what does not hold any more', async (t) => {
  const file = join(folder(t), 'triggers.json')
  const first = await life(file)
  await recordOf(first, 1, 100)
  await first.stop()
  mkdirSync(`${file}.new`)
  const second = await life(file)
  assert.deepEqual(await recalled(second, 1), [100])
  await second.begin([1])
  assert.equal(existsSync(file), false)
  second.settle(1, record(101))
  rmdirSync(`${file}.new`)
  await until(() => existsSync(file))
  assert.deepEqual(await recalled(await life(file), 1), [101], 'and is there again when it can be')
})

onAllDatabasesAtOnce('last records of triggers, shared', (kind) => {
  let store: Store
  let rows: TriggerRows
  before(async () => {
    ;({ store } = await ownStore(kind))
    rows = new TriggerRows(store)
  })
  const recordIn = async (id: number) => (await rows.look([id])).get(id)
  const shared = (value: number | null, owner: string) => ({
    owner,
    record: value === null ? null : JSON.stringify(record(value)),
  })

  test('a row belongs to who claimed it last, and only that one changes it', async () => {
    await rows.claim(90, { owner: 'a', record: 'x' })
    await rows.put(90, { owner: 'a', record: 'line\nline' })
    await rows.put(90, { owner: 'b', record: 'y' })
    assert.deepEqual(await recordIn(90), { owner: 'a', record: 'line\nline' })
    await rows.claim(90, { owner: 'b', record: null })
    await rows.put(90, { owner: 'a', record: 'z' })
    assert.deepEqual(await recordIn(90), { owner: 'b', record: null })
    await rows.put(91, { owner: 'a', record: 'x' })
    assert.deepEqual([...(await rows.look([90, 91, 9])).keys()], [90])
  })

  test('who takes over knows what the one before recorded, and back', async (t) => {
    const dir = folder(t)
    const open = (owner: string) => life(join(dir, owner), { owner, table: () => rows })
    const a = await open('a')
    assert.deepEqual(await recalled(a, 1, 2), [undefined, undefined])
    await recordOf(a, 1, 100)
    await recordOf(a, 2, 200)
    await until(async () => (await recordIn(2))?.record === shared(200, 'a').record)
    await a.begin([2])
    await until(async () => (await recordIn(2))?.record === null)

    const b = await open('b')
    assert.deepEqual(await recalled(b, 1, 2), [100, undefined], 'a may or may not have made the last one')
    assert.deepEqual(await recordIn(1), shared(100, 'b'))
    await recordOf(b, 1, 101)
    await until(async () => (await recordIn(1))?.record === shared(101, 'b').record)
    a.settle(2, record(201))
    await a.stop()
    assert.deepEqual(await recordIn(2), shared(null, 'b'), 'what a says now comes too late')

    assert.deepEqual(await recalled(await open('a'), 1, 2), [101, undefined], 'its file is out of date')
    assert.deepEqual(await recordIn(1), shared(101, 'a'))
    await b.stop()
  })

  test('records made while the database is away count for the same installation, and are shared when it is back', async (t) => {
    const file = join(folder(t), 'triggers.json')
    let isThere = true
    // Away also for what was under way.
    const there = () => (isThere ? rows : Promise.reject(new Error('the database is away')))
    const table: SharedTriggers = {
      look: async (ids) => (await there()).look(ids),
      claim: async (id, row) => (await there()).claim(id, row),
      put: async (id, row) => (await there()).put(id, row),
    }
    const open = () => life(file, { table: () => (isThere ? table : undefined) })
    const first = await open()
    await recalled(first, 11)
    await recordOf(first, 11, 100)
    await until(async () => (await recordIn(11))?.record === shared(100, 'a').record)
    isThere = false
    await recordOf(first, 11, 101)
    await first.stop()
    assert.deepEqual(await recordIn(11), shared(100, 'a'))

    const second = await open()
    assert.deepEqual(await recalled(second, 11), [101])
    isThere = true
    assert.deepEqual(await recalled(second, 11), [101], 'the row is its own: the file counts')
    await recordOf(second, 11, 102)
    await until(async () => (await recordIn(11))?.record === shared(102, 'a').record)
    await second.stop()
  })

  test('a row of an installation that is no more is taken over without having been asked for', async (t) => {
    await rows.claim(21, shared(7, 'long gone'))
    let isThere = false
    const book = await life(join(folder(t), 'triggers.json'), { table: () => (isThere ? rows : undefined) })
    assert.deepEqual(await recalled(book, 21), [undefined])
    await recordOf(book, 21, 8)
    isThere = true
    await until(async () => (await recordIn(21))?.owner === 'a')
    await until(async () => (await recordIn(21))?.record === shared(8, 'a').record)
    await book.stop()
  })

  test('a database that does not answer leaves everything open', async (t) => {
    const file = join(folder(t), 'triggers.json')
    const first = await life(file)
    await recordOf(first, 1, 100)
    await first.stop()
    const failing = { ...rows, look: () => Promise.reject(new Error('gone')) } as unknown as SharedTriggers
    const second = await life(file, { table: () => failing })
    assert.deepEqual(await recalled(second, 1), [undefined])
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), [], 'also for the next life')
  })
})
