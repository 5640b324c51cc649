import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { keepRunFile, type RunFile, readRunFile, runFilePath, writeRunFile } from '../../../core/kernel/run-file.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { folder } from '../support/folder.js'
import { until } from '../support/until.js'

const noProc = existsSync('/proc/self/stat') ? false : 'no /proc here'

const runFileOf = (pid: number): RunFile => ({
  pid,
  version: '1',
  mode: 'demo',
  started_at: '2026-01-01T00:00:00.000Z',
  broker: { url: 'mqtt://x', embedded: true },
  http: null,
  device: null,
})

test('a file whose process is gone is none, also when a stranger has its number now', { skip: noProc }, (t) => {
  const root = folder(t)
  const run = runFileOf(process.ppid)
  writeRunFile(root, run)
  assert.equal(readRunFile(root)?.pid, process.ppid)
  const written = JSON.parse(readFileSync(runFilePath(root), 'utf8')) as { process: string }
  const [boot, started] = written.process.split('/')
  const put = (mark: string | undefined) => writeFileSync(runFilePath(root), JSON.stringify({ ...run, process: mark }))
  for (const stranger of [`${boot}/${Number(started) + 1}`, `00000000-0000-0000-0000-000000000000/${started}`]) {
    put(stranger)
    assert.equal(readRunFile(root), undefined, stranger)
  }
  // A file of an earlier version says no more than the number.
  put(undefined)
  assert.equal(readRunFile(root)?.pid, process.ppid)
})

test('a file that is there and cannot be read is refused; none, and half a one, is nothing that runs', (t) => {
  const root = folder(t)
  assert.equal(readRunFile(root), undefined)
  writeFileSync(runFilePath(root), '{"pid": 1')
  assert.equal(readRunFile(root), undefined)
  rmSync(runFilePath(root))
  mkdirSync(runFilePath(root))
  assert.throws(() => readRunFile(root), { code: 'RUN_FILE_UNREADABLE' })
})

test('where it cannot be written nothing ends, and it is written as soon as it can be', async (t) => {
  const root = folder(t)
  const inTheWay = join(root, 'state')
  writeFileSync(inTheWay, '')
  const remove = keepRunFile(inTheWay, runFileOf(process.pid), { logger: silentLogger, clock: systemClock, retryMs: 5 })
  rmSync(inTheWay)
  await until(() => existsSync(runFilePath(inTheWay)))
  assert.equal(readRunFile(inTheWay)?.pid, process.pid)
  remove()
  assert.equal(readRunFile(inTheWay), undefined)
})
