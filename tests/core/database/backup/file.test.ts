import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { dump } from '../../../../core/database/backup/dump.js'
import { checkBackup, readBackup, writeBackup } from '../../../../core/database/backup/file.js'
import { ownStore } from '../own-store.js'
import { AT, facts, fill, linesOf, originalBackup } from './original-backup.js'

const { dir, file } = await originalBackup()

test('a backup of SQLite is written whole, of its owner alone, and never over another', async () => {
  const { store } = await ownStore('sqlite')
  await fill(store)
  let rows = 0
  const own = join(dir, 'own.backup')
  await writeBackup(own, dump({ store, now: () => AT, onRows: (more) => (rows += more) }), false)
  assert.equal(rows, 2 + 2 + 9 + 7_000 + 2 + 1 + 1 + 1 + 1)
  assert.equal((await stat(own)).mode & 0o777, 0o600)
  const header = await checkBackup(own)
  assert.deepEqual([header.created_at, header.dialect], ['2026-05-01T00:00:00.000Z', 'sqlite'])
  const written = facts(await linesOf(readBackup(own)))
  await assert.rejects(writeBackup(own, dump({ store, now: () => AT }), false), { code: 'USAGE' })
  await writeBackup(own, dump({ store, now: () => AT }), true)
  assert.deepEqual(facts(await linesOf(readBackup(own))), written)
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
