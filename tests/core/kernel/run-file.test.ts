import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { keepRunFile, type RunFile, readRunFile, runFilePath, writeRunFile } from '../../../core/kernel/run-file.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { until } from '../support/until.js'

const noProc = existsSync('/proc/self/stat') ? false : 'no /proc here'

test('a file whose process is gone is none, also when a stranger has its number now', { skip: noProc }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-run-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const run: RunFile = {
    pid: process.ppid,
    version: '1',
    mode: 'demo',
    started_at: '2026-01-01T00:00:00.000Z',
    broker: { url: 'mqtt://x', embedded: true },
    http: null,
    device: null,
  }
  writeRunFile(folder, run)
  assert.equal(readRunFile(folder)?.pid, process.ppid)
  const written = JSON.parse(readFileSync(runFilePath(folder), 'utf8')) as { process: string }
  const [boot, started] = written.process.split('/')
  const put = (mark: string | undefined) =>
    writeFileSync(runFilePath(folder), JSON.stringify({ ...run, process: mark }))
  for (const stranger of [`${boot}/${Number(started) + 1}`, `00000000-0000-0000-0000-000000000000/${started}`]) {
    put(stranger)
    assert.equal(readRunFile(folder), undefined, stranger)
  }
  // A file of an earlier version says no more than the number.
  put(undefined)
  assert.equal(readRunFile(folder)?.pid, process.ppid)
})

test('a file that is there and cannot be read is refused; none, and half a one, is nothing that runs', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-run-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  assert.equal(readRunFile(folder), undefined)
  writeFileSync(runFilePath(folder), '{"pid": 1')
  assert.equal(readRunFile(folder), undefined)
  rmSync(runFilePath(folder))
  mkdirSync(runFilePath(folder))
  assert.throws(() => readRunFile(folder), { code: 'RUN_FILE_UNREADABLE' })
})

test('where it cannot be written nothing ends, and it is written as soon as it can be', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-run-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const inTheWay = join(folder, 'state')
  writeFileSync(inTheWay, '')
  const remove = keepRunFile(
    inTheWay,
    {
      pid: process.pid,
      version: '1',
      mode: 'demo',
      started_at: '2026-01-01T00:00:00.000Z',
      broker: { url: 'mqtt://x', embedded: true },
      http: null,
      device: null,
    },
    { logger: silentLogger, clock: systemClock, retryMs: 5 },
  )
  rmSync(inTheWay)
  await until(() => existsSync(runFilePath(inTheWay)))
  assert.equal(readRunFile(inTheWay)?.pid, process.pid)
  remove()
  assert.equal(readRunFile(inTheWay), undefined)
})
