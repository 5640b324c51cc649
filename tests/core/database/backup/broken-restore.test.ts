import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { sql } from 'kysely'
import { dump } from '../../../../core/database/backup/dump.js'
import { readBackup } from '../../../../core/database/backup/file.js'
import type { BackupLine } from '../../../../core/database/backup/lines.js'
import { filledTables, load } from '../../../../core/database/backup/load.js'
import type { AuditInput } from '../../../../core/database/repositories/log-repositories.js'
import type { Store } from '../../../../core/database/store.js'
import { onEachDatabase } from '../databases.js'
import { ownStore } from '../own-store.js'
import { AT, facts, linesOf, originalBackup, reading, these, withLetter } from './original-backup.js'

const { dir, file, original } = await originalBackup()

onEachDatabase((kind) => {
  describe(`a restore that fails on ${kind}`, () => {
    let store: Store
    before(async () => {
      ;({ store } = await ownStore(kind))
      await load({ store, lines: readBackup(file) })
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
        assert.notDeepEqual(before, withLetter(original))
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
  })
})
