import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { KeyRing, type KeyTable } from '../../../core/http/key-ring.js'
import { createKey } from '../../../core/http/keys.js'
import type { ApiKeyRecord } from '../../../core/http/services/keys.js'
import { type Logger, silentLogger } from '../../../core/observability/logger.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'

const ACTOR = { kind: 'cli', name: 'test' } as const

class MemoryTable implements KeyTable {
  records: ApiKeyRecord[] = []
  away = false

  async list() {
    if (this.away) throw new Error('away')
    return [...this.records]
  }

  async add(record: ApiKeyRecord) {
    this.records.push(record)
  }

  async revoke(prefix: string) {
    const found = this.records.find((record) => record.prefix === prefix && record.revoked_at === null)
    if (found === undefined) return false
    this.records = this.records.map((each) =>
      each === found ? { ...each, revoked_at: new Date().toISOString() } : each,
    )
    return true
  }
}

function setUp(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-keys-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const due: (() => void)[] = []
  const clock: Clock = {
    ...systemClock,
    after: (_ms, run) => {
      due.push(run)
      return () => {}
    },
  }
  const table = new MemoryTable()
  const file = join(folder, 'api-keys.json')
  const ring = (of: () => KeyTable | undefined = () => table) => new KeyRing({ table: of, file, clock })
  const tick = async () => {
    due.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { table, file, ring, tick }
}

test('keys are found from memory, revoked at once, and known again after a restart without the database', async (context) => {
  const { file, ring } = setUp(context)
  const keys = ring()
  await keys.start()
  assert.equal(keys.any(), false)
  const { key, record } = createKey({ name: 'n', scope: 'write' }, Date.now())
  await keys.add(record, ACTOR)
  assert.deepEqual([keys.any(), keys.find(record.prefix)?.scope], [true, 'write'])
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.ok(!readFileSync(file, 'utf8').includes(key))

  const later = ring(() => undefined)
  await later.start()
  assert.deepEqual([later.any(), later.find(record.prefix)?.hash], [true, record.hash])
  await assert.rejects(later.revoke(record.prefix, ACTOR), { code: 'DATABASE_UNAVAILABLE' })

  await keys.revoke(record.prefix, ACTOR)
  assert.equal(keys.any(), false)
  await assert.rejects(keys.revoke(record.prefix, ACTOR), { code: 'KEY_UNKNOWN' })
})

test('what another installation changes shows, and what cannot be read changes nothing', async (context) => {
  const { table, ring, tick } = setUp(context)
  const keys = ring()
  await keys.start()
  const { record } = createKey({ name: 'n', scope: 'read' }, Date.now())
  table.records.push(record)
  await tick()
  assert.equal(keys.any(), true)
  table.away = true
  await tick()
  assert.equal(keys.any(), true)
  table.away = false
  await table.revoke(record.prefix)
  await tick()
  assert.equal(keys.any(), false)
  keys.stop()
})

test('keys that expire or are no longer found leave the door closed; the last one that is revoked opens it', async (context) => {
  const { table, ring, tick } = setUp(context)
  const expired = createKey({ name: 'n', scope: 'read', expiresAt: '2020-01-01T00:00:00.000Z' }, Date.now()).record
  table.records = [expired]
  const keys = ring()
  await keys.start()
  assert.equal(keys.any(), true)
  table.records = []
  await tick()
  assert.deepEqual([keys.any(), keys.find(expired.prefix)], [true, undefined])
  const { record } = createKey({ name: 'n', scope: 'read' }, Date.now())
  await keys.add(record, ACTOR)
  await keys.revoke(record.prefix, ACTOR)
  assert.equal(keys.any(), false)
  keys.stop()
})

test('a reading that began before a key was revoked does not bring it back', async (context) => {
  const { table, ring, tick } = setUp(context)
  const keys = ring()
  await keys.start()
  const { record } = createKey({ name: 'n', scope: 'read' }, Date.now())
  await keys.add(record, ACTOR)
  const old = [...table.records]
  let answer = () => {}
  const list = table.list
  table.list = () => {
    table.list = list
    return new Promise((resolve) => {
      answer = () => resolve(old)
    })
  }
  await tick()
  await keys.revoke(record.prefix, ACTOR)
  answer()
  await new Promise((resolve) => setImmediate(resolve))
  assert.notEqual(keys.find(record.prefix)?.revoked_at, null)
  assert.equal(keys.any(), false)
  keys.stop()
})

test('the door stays closed over every start where the keys were lost and not revoked', async (context) => {
  const { table, file, ring } = setUp(context)
  const start = async () => {
    const keys = ring()
    await keys.start()
    keys.stop()
    return keys
  }
  const { record } = createKey({ name: 'n', scope: 'admin' }, Date.now())
  const first = ring()
  await first.start()
  await first.add(record, ACTOR)
  first.stop()
  // Another database, an empty one, or a backup that was made before there was the key.
  table.records = []
  for (const life of [1, 2, 3]) assert.equal((await start()).any(), true, `start ${life}`)
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { asks: true, keys: [] })
  const away = ring(() => undefined)
  await away.start()
  assert.equal(away.any(), true)

  const last = createKey({ name: 'n', scope: 'admin' }, Date.now()).record
  const keys = await start()
  await keys.add(last, ACTOR)
  await keys.revoke(last.prefix, ACTOR)
  assert.equal(keys.any(), false)
  assert.equal((await start()).any(), false)
})

test('a copy that could not be written is written when it can be; one of records alone is read', async (context) => {
  const { table, file, ring, tick } = setUp(context)
  const { record } = createKey({ name: 'n', scope: 'read' }, Date.now())
  writeFileSync(file, JSON.stringify([record]))
  table.away = true
  const keys = ring()
  await keys.start()
  assert.equal(keys.any(), true)
  rmSync(file)
  mkdirSync(file)
  table.away = false
  table.records = [record, createKey({ name: 'm', scope: 'read' }, Date.now()).record]
  await tick()
  rmSync(file, { recursive: true })
  await tick()
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).keys.length, 2)
  keys.stop()
})

test('a copy that cannot be read ends the start: better closed than open', async (context) => {
  const { file, ring } = setUp(context)
  writeFileSync(file, '[{"prefix": 1}]')
  await assert.rejects(ring(() => undefined).start(), { code: 'CONFIG_INVALID' })
})

test('a row of the table that is no key is told once and hides no other', async (context) => {
  const { table, file } = setUp(context)
  const { record } = createKey({ name: 'good', scope: 'read', expiresAt: null }, Date.now())
  table.records.push(record)
  const list = table.list.bind(table)
  const told: unknown[] = []
  const logger = { ...silentLogger, error: (facts: object) => told.push((facts as { prefix?: unknown }).prefix) }
  const damaged = async (onDamaged: (prefix: string, error: unknown) => void) => {
    onDamaged('bad', new RangeError('no time'))
    return list()
  }
  const keys = new KeyRing({ table: () => Object.assign(table, { list: damaged }), file, logger: logger as Logger })
  await keys.start()
  await keys.revoke(record.prefix, ACTOR)
  assert.deepEqual(told, ['bad'])
  assert.equal(keys.find(record.prefix)?.name, 'good')
  keys.stop()
})
