import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { sql } from 'kysely'
import { dump } from '../../../core/database/backup/dump.js'
import { checkBackup, readBackup, writeBackup } from '../../../core/database/backup/file.js'
import type { BackupLine } from '../../../core/database/backup/lines.js'
import { filledTables, load, refuseNewer } from '../../../core/database/backup/load.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import type { Store } from '../../../core/database/store.js'
import { type Kind, type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'

const AT = Date.UTC(2026, 4, 1)
const source = { instance: 'plant', boot: 'one' }
const letter = {
  route: 'r',
  topic: 't/ä',
  payload: 'AAE=',
  qos: 1,
  retain: false,
  properties: { contentType: 'x' },
  receivedAt: 5,
  deadline: undefined,
} as const

function reading(sequence: number, more: Partial<ReadingWrite>): ReadingWrite {
  const time_us = AT * 1e3 + sequence
  return {
    source,
    sequence,
    device_id: 'd',
    point: 'p',
    unit: 'V',
    time_us,
    value: 1,
    quality: 'good',
    reason: null,
    ...more,
  }
}

/** One of everything that has a form of its own. */
async function fill(store: Store): Promise<void> {
  await store.devices.insert({
    device_id: 'd',
    host: 'h',
    port: 502,
    write_enabled: false,
    options: { note: "o'clock\n" },
  })
  await store.devices.insert({ device_id: 'serial', path: '/dev/tty', baud_rate: 9600, timeout: 0.25 })
  await store.targets.insert({ device_id: 'd', register_type: 'holding', address: 1, count: 2 })
  const gone = await store.targets.insert({ device_id: 'd', register_type: 'coil', address: 1, count: 1 })
  await store.targets.insert({ device_id: 'd', register_type: 'input', address: 9, count: 1, description: 'Fluß' })
  await sql`delete from routemq_targets where id = ${gone.id}`.execute(store.kysely)
  const values = [1.5, -0.1, true, false, null, 'text \t "x"', '9007199254740993', [1, 2, 65_535], 1e300]
  await store.readings.insertBatch(
    values.map((value, n) =>
      reading(n + 1, { value, point: `p${n}`, quality: n % 2 === 0 ? 'good' : 'bad', reason: 'why' }),
    ),
  )
  // More than a page of one series, with several of one time.
  const many = Array.from({ length: 12_000 }, (_, n) => reading(n + 100, { time_us: AT * 1e3 + Math.floor(n / 3_000) }))
  for (let at = 0; at < many.length; at += 4_000) await store.readings.insertBatch(many.slice(at, at + 4_000))
  await store.events.append([
    { kind: 'a', message: 'first', at: AT },
    { kind: 'b', message: 'second', at: AT, details: { x: 1 } },
  ])
  await store.audit.append([{ id: 'e1', at: AT, actor: { kind: 'app', name: 'x' }, action: 'write', outcome: 'ok' }])
  await store.deadLetters.put(
    { ...letter, error: { code: 'INTERNAL', message: 'x' }, attempts: 3, failedAt: AT },
    'letter-1',
  )
  await store.parked.put({ ...letter, key: 'k', attempt: 2 }, 'parked-1')
  await store.idempotency.claim('key', 'hash', source)
  await store.idempotency.complete('key', { ok: true, value: { done: 1 } })
}

async function linesOf(lines: AsyncIterable<BackupLine>): Promise<BackupLine[]> {
  const out: BackupLine[] = []
  for await (const line of lines) out.push(line)
  return out
}

async function* these(lines: readonly BackupLine[]): AsyncGenerator<BackupLine> {
  yield* lines
}

/** What a backup says, apart from its header, the numbers of sources and the parked messages. */
function facts(lines: readonly BackupLine[]): string[] {
  return lines
    .filter(
      (line) =>
        !('routemq_backup' in line || 'sources' in line || ('table' in line && line.table === 'routemq_parked')),
    )
    .map((line) => ('readings' in line ? { ...line, readings: line.readings.map((row) => row.toSpliced(1, 1)) } : line))
    .map((line) => JSON.stringify(line))
    .sort()
}

let dir: string
let file: string
let original: readonly BackupLine[]
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'routemq-backup-'))
  file = join(dir, 'plant.backup')
})
after(() => rm(dir, { recursive: true, force: true }))

const opened: { store: Store; own: OwnDatabase }[] = []
async function open(kind: Kind): Promise<Store> {
  const own = await ownDatabase(kind)
  const store = await openStore(own.config)
  opened.push({ store, own })
  return store
}
after(async () => {
  for (const { store, own } of opened) {
    await store.close()
    await own.drop()
  }
})

test('a backup of SQLite is written whole, of its owner alone, and never over another', async () => {
  const store = await open('sqlite')
  await fill(store)
  let rows = 0
  await writeBackup(file, dump({ store, now: () => AT, onRows: (more) => (rows += more) }), false)
  assert.equal(rows, 2 + 2 + 9 + 12_000 + 2 + 1 + 1 + 1 + 1)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  const header = await checkBackup(file)
  assert.deepEqual([header.created_at, header.dialect], ['2026-05-01T00:00:00.000Z', 'sqlite'])
  original = await linesOf(readBackup(file))
  await assert.rejects(writeBackup(file, dump({ store, now: () => AT }), false), { code: 'USAGE' })
  await writeBackup(file, dump({ store, now: () => AT }), true)
  assert.deepEqual(facts(await linesOf(readBackup(file))), facts(original))
})

test('what is cut off, damaged or something else is refused', async () => {
  const bytes = await readFile(file)
  const text = gunzipSync(bytes).toString()
  const other = join(dir, 'other')
  const refused = async (content: Buffer | string) => {
    await writeFile(other, content)
    await assert.rejects(checkBackup(other), { code: 'BACKUP_INVALID' })
  }
  await refused('no backup')
  await refused('')
  await refused(bytes.subarray(0, bytes.length - 40))
  await refused(gzipSync(text.slice(0, text.lastIndexOf('{"end"'))))
  await refused(gzipSync(text.replace('"V"', '"W"')))
  await refused(gzipSync(text.replace('"routemq_backup":1', '"routemq_backup":2')))
  await refused(gzipSync('{"a":1}\n{"end":{"lines":1}}\n'))
})

onEachDatabase((kind) => {
  describe(`backup and restore on ${kind}`, () => {
    let store: Store
    before(async () => {
      store = await open(kind)
    })

    test('it takes what SQLite held, and gives it again', async () => {
      assert.deepEqual(await filledTables(store), [])
      await load({ store, lines: readBackup(file) })
      assert.deepEqual(facts(await linesOf(dump({ store, now: () => AT }))), withLetter(facts(original)))
      assert.deepEqual(
        (await store.targets.list()).map(({ id, description }) => [id, description]),
        [
          [1, null],
          [3, 'Fluß'],
        ],
      )
      assert.equal((await store.devices.get('d'))?.write_enabled, false)
      const { id } = await store.targets.insert({ device_id: 'd', register_type: 'discrete', address: 0, count: 1 })
      assert.equal(id, 4, 'counts on from there')
      assert.deepEqual(await store.idempotency.claim('key', 'hash', source), {
        state: 'done',
        outcome: { ok: true, value: { done: 1 } },
      })
    })

    test('a parked message is not run again by a restore: it is a dead letter', async () => {
      assert.equal(await store.parked.count(), 0)
      const { error, attempts, payload } = (await store.deadLetters.get('parked-1'))!
      assert.deepEqual([error.code, attempts, payload], ['WORKER_LOST', 2, 'AAE='])
    })

    test('a restore whose emptying fails leaves everything as it was', async () => {
      const filled = await filledTables(store)
      assert.ok(filled.length > 5)
      // One of the last to be emptied is not there.
      await sql`alter table routemq_events rename to away_events`.execute(store.kysely)
      try {
        await assert.rejects(load({ store, lines: readBackup(file) }))
      } finally {
        await sql`alter table away_events rename to routemq_events`.execute(store.kysely)
      }
      assert.deepEqual(await filledTables(store), filled)
    })

    test('rows of megabytes make lines and statements of about one', async () => {
      const lines: BackupLine[] = []
      for await (const line of dump({ store, now: () => AT })) lines.push(line)
      const small = lines.length
      const payload = 'x'.repeat(400_000)
      for (let n = 0; n < 10; n++) {
        await store.events.append([{ kind: 'large', message: `${n}`, at: AT + n, details: { payload } }])
      }
      lines.length = 0
      for await (const line of dump({ store, now: () => AT })) lines.push(line)
      assert.ok(lines.length >= small + 4, `${lines.length} lines, ${small} before`)
      for (const line of lines) assert.ok(JSON.stringify(line).length < 1_300_000)
      await load({ store, lines: these(lines.slice(1)) })
      const kept = (await store.events.list({ kind: 'large' })).map(({ message, details }) => [
        message,
        String(details.payload).length,
      ])
      assert.deepEqual(
        kept,
        Array.from({ length: 10 }, (_, n) => [`${9 - n}`, 400_000]),
      )
    })

    test('pages of large rows are bounded by their bytes', async () => {
      const payload = 'QUJD'.repeat(100_000)
      for (let n = 0; n < 20; n++) {
        const error = { code: 'INTERNAL', message: 'x' } as const
        await store.deadLetters.put({ ...letter, payload, error, attempts: 1, failedAt: AT + n }, `large-${n}`)
      }
      const most = await largestResult(store, async () => {
        const lines = await linesOf(dump({ store, now: () => AT }))
        const ids = lines.flatMap((line) => ('table' in line ? line.rows : [])).map(({ id }) => String(id))
        assert.equal(ids.filter((id) => id.startsWith('large-')).length, 20)
      })
      assert.ok(most < 1_500_000, `${most} bytes in one result`)
      await sql`delete from routemq_dead_letters where id like 'large-%'`.execute(store.kysely)
    })

    test('dead letters of an earlier version have their payload again', async () => {
      const old = { ...letter, error: { code: 'INTERNAL', message: 'x' }, attempts: 3, failedAt: AT }
      const row = {
        id: 'old',
        failed_us: AT * 1e3,
        route: 'r',
        topic: 't',
        code: 'INTERNAL',
        record: JSON.stringify(old),
      }
      const others = (await linesOf(dump({ store, now: () => AT }))).slice(1)
      await load({ store, lines: these([...others, { table: 'routemq_dead_letters', rows: [row] }]) })
      const { deadline: _, ...found } = (await store.deadLetters.get('old'))!
      const { deadline: __, ...wanted } = old
      assert.deepEqual(found, { ...wanted, id: 'old' })
      const { rows } = await sql<{ bytes: number }>`select bytes from routemq_dead_letters where id = 'old'`.execute(
        store.kysely,
      )
      assert.ok(Number(rows[0]?.bytes) > 100)
    })

    test('what the audit was told since the backup stays, once', async () => {
      const actor = { kind: 'app', name: 'x' } as const
      await store.audit.append([{ id: 'known', actor, action: 'write', outcome: 'ok' }])
      const taken = await linesOf(dump({ store, now: () => AT }))
      await store.audit.append([{ id: 'since', actor, action: 'unlock', outcome: 'ok' }])
      const entry = { actor, action: 'restore', outcome: 'ok' } as const
      await load({ store, lines: these(taken), entry: { ...entry, subject: 'one' } })
      await load({ store, lines: these(taken), entry: { ...entry, subject: 'two' } })
      const told = (await store.audit.list()).map(({ action, subject }) => subject ?? action)
      assert.deepEqual(told.filter((what) => ['unlock', 'one', 'two'].includes(what)).sort(), ['one', 'two', 'unlock'])
      assert.equal(new Set(told.filter((what) => what === 'write')).size, 1)
      await sql`delete from routemq_audit`.execute(store.kysely)
      await load({ store, lines: readBackup(file) })
    })

    test('a second restore replaces, and is told to the audit', async () => {
      assert.ok((await filledTables(store)).length > 5)
      const entry = { actor: { kind: 'cli', name: 'x' }, action: 'restore', subject: file, outcome: 'ok' } as const
      await load({ store, lines: readBackup(file), entry })
      assert.equal((await store.targets.list()).length, 2)
      assert.deepEqual(
        (await store.audit.list()).map(({ action, subject }) => [action, subject]),
        [
          ['restore', file],
          ['write', null],
        ],
      )
    })

    describe('a restore that breaks off leaves everything as it was', () => {
      let before: readonly string[]
      const everything = async () => facts(await linesOf(dump({ store, now: () => AT })))
      const unchanged = async (lines: AsyncIterable<BackupLine>, why: object, entry?: AuditInput) => {
        let loaded = 0
        const onRows = (rows: number) => {
          loaded += rows
        }
        await assert.rejects(load({ store, lines, onRows, ...(entry && { entry }) }), why)
        assert.ok(loaded > 0, 'it broke off in the middle')
        assert.deepEqual(await everything(), before)
        const { id } = await store.targets.insert({ device_id: 'd', register_type: 'input', address: 77, count: 1 })
        await sql`delete from routemq_targets where id = ${id}`.execute(store.kysely)
        assert.ok(id > lastId, 'ids are not given twice')
        lastId = id
      }
      let lastId = 0

      test('what is there is other than what is in the backup', async () => {
        for (let n = 0; n < 5; n++) {
          lastId = (await store.targets.insert({ device_id: 'd', register_type: 'coil', address: 50 + n, count: 1 })).id
        }
        await store.readings.insertBatch([reading(1, { device_id: 'later', value: 5 })])
        before = await everything()
        assert.notDeepEqual(before, withLetter(facts(original)))
      })

      test('at a row of a table that the table refuses', async () => {
        const lines = these([...original.slice(0, 3), { table: 'routemq_devices', rows: [{ no_such_column: 1 }] }])
        await unchanged(lines, { message: /no_such_column/ })
      })

      test('at a row that is there twice', async () => {
        const devices = original.find((line) => 'table' in line && line.table === 'routemq_devices')!
        await unchanged(these([...original.slice(0, 5), devices]), { message: /unique|duplicate/i })
      })

      test('at a reading of a source that it does not name, after thousands', async () => {
        const series = { device_id: 'd', point: 'p', unit: null }
        const late = { series, readings: [[AT, 99, 1, 1.5, null, 1, 0, null]] } satisfies BackupLine
        await unchanged(these([...original, late]), { code: 'BACKUP_INVALID' })
      })

      test('at the very last step', async () => {
        const details = { notJson: 1n }
        const entry = { actor: { kind: 'cli', name: 'x' }, action: 'restore', outcome: 'ok', details } as const
        await unchanged(these(original), TypeError, entry)
      })

      test('where the file became another one after it was checked', async () => {
        const other = join(dir, `changed-${kind}`)
        const text = gunzipSync(await readFile(file)).toString()
        await writeFile(other, gzipSync(text.replace('"V"', '"W"')))
        await unchanged(readBackup(other), { code: 'BACKUP_INVALID' })
      })

      test('where the file ends in the middle of its readings', async () => {
        const other = join(dir, `cut-${kind}`)
        const text = gunzipSync(await readFile(file)).toString()
        await writeFile(other, gzipSync(text.slice(0, text.lastIndexOf('{"series"'))))
        await unchanged(readBackup(other), { code: 'BACKUP_INVALID' })
      })
    })

    test('keys that were revoked since the backup stay revoked, also those it does not know', async () => {
      const key = (prefix: string) =>
        store.keys.add({
          prefix,
          hash: `${prefix}-hash`,
          name: prefix,
          scope: 'admin',
          created_at: '2026-01-01T00:00:00Z',
          expires_at: null,
          revoked_at: null,
        })
      await key('valid')
      await key('revoked-before')
      await key('revoked-since')
      assert.ok(await store.keys.revoke('revoked-before'))
      const taken = await linesOf(dump({ store, now: () => AT }))
      assert.ok(await store.keys.revoke('revoked-since'))
      await key('made-since')
      await key('made-and-revoked-since')
      assert.ok(await store.keys.revoke('made-and-revoked-since'))
      const revoked = async () =>
        Object.fromEntries((await store.keys.list()).map(({ prefix, revoked_at }) => [prefix, revoked_at !== null]))
      await load({ store, lines: these(taken) })
      const after = {
        valid: false,
        'revoked-before': true,
        'revoked-since': true,
        'made-and-revoked-since': true,
      }
      assert.deepEqual(await revoked(), after)
      // Nor does a later backup in which that key was still valid revive it.
      const { hash, revoked_at: _, ...rest } = (await store.keys.list()).find(({ prefix }) => prefix === 'valid')!
      assert.equal(hash, 'valid-hash')
      assert.ok(await store.keys.revoke('valid'))
      await load({ store, lines: these(taken) })
      assert.deepEqual(await revoked(), { ...after, valid: true })
      assert.equal(rest.scope, 'admin')
    })

    test('a key with a time beyond what a number holds is in the backup, and restored', async () => {
      await sql`insert into routemq_api_keys (prefix, hash, name, scope, created_us, expires_us)
        values ('late', 'h', 'n', 'read', 1, 253402300799000001)`.execute(store.kysely)
      const copy = join(dir, `late-${kind}`)
      await writeBackup(copy, dump({ store, now: () => AT }), false)
      await sql`delete from routemq_api_keys where prefix = 'late'`.execute(store.kysely)
      await load({ store, lines: readBackup(copy) })
      const late = (await store.keys.list()).find(({ prefix }) => prefix === 'late')
      assert.equal(late?.expires_at, '9999-12-31T23:59:59.000001Z')
      await sql`delete from routemq_api_keys where prefix = 'late'`.execute(store.kysely)
    })

    test('a command that was carried out since the backup is not carried out again', async () => {
      const taken = await linesOf(dump({ store, now: () => AT }))
      assert.deepEqual(await store.idempotency.claim('since', 'hash', source), { state: 'claimed' })
      await store.idempotency.complete('since', { ok: true, value: { done: 2 } })
      await load({ store, lines: these(taken) })
      const done = (n: number) => ({ state: 'done', outcome: { ok: true, value: { done: n } } })
      assert.deepEqual(await store.idempotency.claim('since', 'hash', source), done(2))
      assert.deepEqual(await store.idempotency.claim('key', 'hash', source), done(1))
    })

    test('who runs on a database is told by its leases, until they lapse or are given back', async () => {
      await store.leases.acquire('bus/a', 'other', 60_000)
      await store.leases.acquire('bus/b', 'gone', 1)
      await store.leases.acquire('bus/c', 'left', 60_000)
      await store.leases.release('bus/c', 'left')
      await new Promise((resolve) => setTimeout(resolve, 20))
      assert.deepEqual(await store.leases.alive(), ['other'])
      await store.leases.release('bus/a', 'other')
      assert.deepEqual(await store.leases.alive(), [])
    })

    test('a backup of a newer version is refused', async () => {
      const header = {
        routemq_backup: 1,
        created_at: '',
        dialect: 'sqlite',
        schema: ['0001-initial', '9999-future'],
      } as const
      await assert.rejects(refuseNewer(store, header), { code: 'DATABASE_SCHEMA', message: /9999-future/ })
    })

    test('rows that arrive meanwhile are in it by whole batches, up to one moment', async () => {
      const batch = 500
      let stop = false
      let written = 0
      const writing = (async () => {
        for (; !stop; written++) {
          await elsewhere.readings.insertBatch(
            Array.from({ length: batch }, (_, n) =>
              reading(written * batch + n + 1, { device_id: `w${n % 10}`, point: `q${n % 50}`, time_us: written + 1 }),
            ),
          )
        }
      })()
      while (written < 3) await new Promise((resolve) => setTimeout(resolve, 5))
      const seen = new Map<number, number>()
      let before = 0
      for await (const line of dump({ store, now: () => AT })) {
        // While it is under way others go on: wait for a batch at each of the first lines.
        if ('readings' in line && before++ < 5) {
          const then = written
          while (written === then) await new Promise((resolve) => setTimeout(resolve, 5))
        }
        if (!('readings' in line && line.series.device_id.startsWith('w'))) continue
        for (const [time] of line.readings) seen.set(time, (seen.get(time) ?? 0) + 1)
      }
      stop = true
      await writing
      assert.ok(seen.size >= 3 && seen.size < written, `${seen.size} of ${written} batches`)
      assert.deepEqual([...new Set(seen.values())], [batch], 'no batch is torn')
      assert.deepEqual(
        [...seen.keys()].sort((a, b) => a - b),
        Array.from({ length: seen.size }, (_, n) => n + 1),
      )
    })

    let elsewhere: Store
    before(async () => {
      elsewhere = await openStore(opened.at(-1)!.own.config)
    })
    after(() => elsewhere.close())
  })
})

/** Characters of the largest result that the work makes the database give. */
async function largestResult(store: Store, work: () => Promise<void>): Promise<number> {
  let most = 0
  const executor = store.kysely.getExecutor()
  const connection = executor.provideConnection.bind(executor)
  executor.provideConnection = (consumer) =>
    connection((real) =>
      consumer({
        executeQuery: async (...query) => {
          const result = await real.executeQuery<Record<string, unknown>>(...query)
          most = Math.max(most, JSON.stringify(result.rows).length)
          return result as never
        },
        streamQuery: (...query) => real.streamQuery(...query),
      }),
    )
  try {
    await work()
  } finally {
    executor.provideConnection = connection
  }
  return most
}

/** The parked message has become a letter. */
function withLetter(lines: readonly string[]): string[] {
  return lines
    .map((text) => {
      const line = JSON.parse(text)
      if (line.table !== 'routemq_dead_letters') return text
      const error = { code: 'WORKER_LOST', message: 'Parked when the backup was made; it may have run since' }
      const parked = original.flatMap((one) => ('table' in one && one.table === 'routemq_parked' ? one.rows : []))[0]!
      const failedAt = Number(parked.parked_us) / 1e3
      const { payload, ...rest } = letter
      const record = JSON.stringify({ ...rest, error, attempts: 2, failedAt })
      const row = {
        id: 'parked-1',
        failed_us: Number(parked.parked_us),
        route: 'r',
        topic: 't/ä',
        code: 'WORKER_LOST',
        record,
        body: payload,
        bytes: Buffer.byteLength(record) + payload.length,
      }
      return JSON.stringify({ ...line, rows: [...line.rows, row] })
    })
    .sort()
}
