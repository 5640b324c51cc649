import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { sql } from 'kysely'
import { dump } from '../../../../core/database/backup/dump.js'
import { readBackup } from '../../../../core/database/backup/file.js'
import { load } from '../../../../core/database/backup/load.js'
import type { Store } from '../../../../core/database/store.js'
import { onEachDatabase } from '../databases.js'
import { ownStore } from '../own-store.js'
import { AT, linesOf, originalBackup, source, these } from './original-backup.js'

const { file } = await originalBackup()

onEachDatabase((kind) => {
  describe(`what happened since the backup on ${kind}`, () => {
    let store: Store
    before(async () => {
      ;({ store } = await ownStore(kind))
      await load({ store, lines: readBackup(file) })
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

    test('a command that was carried out since the backup is not carried out again', async () => {
      const taken = await linesOf(dump({ store, now: () => AT }))
      assert.deepEqual(await store.idempotency.claim('since', 'hash', source), { state: 'claimed' })
      await store.idempotency.complete('since', { ok: true, value: { done: 2 } })
      await load({ store, lines: these(taken) })
      const done = (n: number) => ({ state: 'done', outcome: { ok: true, value: { done: n } } })
      assert.deepEqual(await store.idempotency.claim('since', 'hash', source), done(2))
      assert.deepEqual(await store.idempotency.claim('key', 'hash', source), done(1))
    })
  })
})
