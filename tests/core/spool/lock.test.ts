import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { lockFolder } from '../../../core/spool/lock.js'

test('a lock may be read by every user: who may not could not tell whether its process lives', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-lock-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const before = process.umask(0o022)
  t.after(() => process.umask(before))
  const release = await lockFolder(folder)
  assert.equal(statSync(join(folder, 'lock')).mode & 0o777, 0o644)
  await release()
})

const isRoot = process.getuid?.() === 0
test('a lock that may not be read is held', {
  skip: isRoot ? false : 'only root can become another user',
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-lock-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o777)
  writeFileSync(join(folder, 'lock'), '999999999 0\n', { mode: 0o600 })
  process.seteuid!(65_534)
  t.after(() => process.seteuid!(0))
  await assert.rejects(lockFolder(folder), { code: 'SPOOL_LOCKED' })
  process.seteuid!(0)
  // Whoever may read it sees that its process is gone.
  await (await lockFolder(folder))()
})
