import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { sql } from 'kysely'
import { dump } from '../../../../core/database/backup/dump.js'
import { readBackup, writeBackup } from '../../../../core/database/backup/file.js'
import { filledTables, load, refuseNewer } from '../../../../core/database/backup/load.js'
import type { Store } from '../../../../core/database/store.js'
import { onEachDatabase } from '../databases.js'
import { ownStore } from '../own-store.js'
import { AT, facts, letter, linesOf, originalBackup, source, these, withLetter } from './original-backup.js'

const { dir, file, original } = await originalBackup()

onEachDatabase((kind) => {
  describe(`backup and restore on ${kind}`, () => {
    let store: Store
    before(async () => {
      ;({ store } = await ownStore(kind))
    })

    test('it takes what SQLite held, and gives it again', async () => {
      assert.deepEqual(await filledTables(store), [])
      await load({ store, lines: readBackup(file) })
      assert.deepEqual(facts(await linesOf(dump({ store, now: () => AT }))), withLetter(original))
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
  })
})
