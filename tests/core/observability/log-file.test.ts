import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { LogFile } from '../../../core/observability/log-file.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { until } from '../support/until.js'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-log-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** The retry after five seconds comes when the test says so. */
function heldClock() {
  const due: (() => void)[] = []
  const clock: Clock = {
    ...systemClock,
    after(ms, run, options) {
      if (ms !== 5_000) return systemClock.after(ms, run, options)
      due.push(run)
      return () => void due.splice(due.indexOf(run), 1)
    },
  }
  const fire = () => {
    for (const run of due.splice(0)) run()
  }
  return { clock, fire, isDue: () => due.length > 0 }
}

function open(path: string, sizes: { maxBytes: number; keep: number }, clock: Clock = systemClock) {
  const diverted: string[] = []
  const troubles: Error[] = []
  const file = new LogFile({
    path,
    ...sizes,
    fallback: (line) => void diverted.push(line),
    onTrouble: (error) => void troubles.push(error),
    recovered: (lines) => `recovered after ${lines}\n`,
    clock,
  })
  return { file, diverted, troubles }
}

test('a file is set aside at its size and compressed, so many are kept, and every line is in one of them', async (t) => {
  const dir = folder(t)
  const path = join(dir, 'logs', 'app.log')
  const { file, diverted } = open(path, { maxBytes: 4_096, keep: 3 })
  const line = (n: number) => `${String(n).padStart(6, '0')} ${'x'.repeat(92)}\n`
  const text = () => {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return undefined // between two files
    }
  }
  // One at a time: lines that come together are written together. The one that fills a file is set aside with it.
  const perFile = Math.ceil(4_096 / line(0).length)
  for (let n = 0; n < 150; n++) {
    file.write(line(n))
    const isLast = n % perFile === perFile - 1
    await until(() => (isLast ? text() === '' : text()?.endsWith(line(n))), `line ${n} is written`)
  }
  await file.close()
  const names = readdirSync(join(dir, 'logs')).sort()
  assert.deepEqual(names, ['app.log', 'app.log.1.gz', 'app.log.2.gz', 'app.log.3.gz'])
  const newestFirst = ['app.log.3.gz', 'app.log.2.gz', 'app.log.1.gz'].map((name) =>
    gunzipSync(readFileSync(join(dir, 'logs', name))).toString(),
  )
  const all = newestFirst.join('') + readFileSync(path, 'utf8')
  for (const set of newestFirst) assert.ok(set.length >= 4_096, `${set.length}`)
  assert.deepEqual(diverted, [])
  assert.equal(all, Array.from({ length: 150 }, (_, n) => line(n)).join(''))
})

test('a second process goes on with the file; what stood in it stays', async (t) => {
  const path = join(folder(t), 'app.log')
  const first = open(path, { maxBytes: 1_000_000, keep: 2 })
  first.file.write('one\n')
  await first.file.close()
  const second = open(path, { maxBytes: 1_000_000, keep: 2 })
  second.file.write('two\n')
  await second.file.close()
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
})

test('a file that cannot be opened diverts its lines, says so once, and is taken up again when it can', async (t) => {
  const path = join(folder(t), 'app.log')
  mkdirSync(path)
  const { clock, fire, isDue } = heldClock()
  const { file, diverted, troubles } = open(path, { maxBytes: 4_096, keep: 2 }, clock)
  file.write('first\n')
  await until(() => troubles.length === 1, 'the trouble is told')
  file.write('second\n')
  await until(isDue, 'the next attempt is arranged')
  fire()
  await until(isDue, 'that one failed too')
  assert.deepEqual(diverted, ['first\n', 'second\n'])
  assert.equal(troubles.length, 1, 'told once')
  rmSync(path, { recursive: true })
  fire()
  await until(() => existsSync(path) && readFileSync(path, 'utf8') === 'recovered after 2\n', 'it is taken up')
  file.write('third\n')
  await file.close()
  assert.equal(readFileSync(path, 'utf8'), 'recovered after 2\nthird\n')
  assert.deepEqual(diverted, ['first\n', 'second\n'])
})

test('a full disk costs no line and no error: the lines are diverted, and the file goes on when there is room', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-log-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=65536', 'routemq', dir], { stdio: 'pipe' })
  } catch (error) {
    rmSync(dir, { recursive: true })
    t.skip(`a file system cannot be mounted here: ${String(error).split('\n').at(-2)}`)
    return
  }
  t.after(() => {
    execFileSync('umount', ['-l', dir])
    rmSync(dir, { recursive: true })
  })
  const { clock, fire, isDue } = heldClock()
  const { file, diverted, troubles } = open(join(dir, 'app.log'), { maxBytes: 1_000_000, keep: 2 }, clock)
  const filler = join(dir, 'filler')
  writeFileSync(filler, Buffer.alloc(32_768))
  const line = (n: number) => `${String(n).padStart(4, '0')}${'y'.repeat(995)}\n`
  for (let n = 0; n < 100; n++) file.write(line(n))
  await until(() => troubles.length === 1, 'the disk is full')
  assert.match(troubles[0]!.message, /ENOSPC/)
  file.write('while full\n')
  await until(() => diverted.includes('while full\n'), 'it is diverted')
  const kept = readFileSync(join(dir, 'app.log'), 'utf8')
  for (let n = 0; n < 100; n++) {
    assert.ok(diverted.includes(line(n)) || kept.includes(line(n)), `line ${n} is somewhere`)
  }
  await until(isDue, 'the next attempt is arranged')
  rmSync(filler)
  fire()
  await until(() => readFileSync(join(dir, 'app.log'), 'utf8').includes('recovered after'), 'it goes on')
  file.write('after\n')
  await file.close()
  assert.match(readFileSync(join(dir, 'app.log'), 'utf8'), /recovered after \d+\nafter\n$/)
})
