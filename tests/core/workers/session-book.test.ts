import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { silentLogger } from '../../../core/observability/logger.js'
import type { PlannedSubscription } from '../../../core/router/route.js'
import { type HeldSession, retiredFrom, SessionBook } from '../../../core/workers/session-book.js'

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'routemq-book-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

function subscription(filter: string): PlannedSubscription {
  return { id: 1, filter, qos: 1, shared: false, lane: 'default', slots: 'solo', routes: ['r'] }
}

function session(clientId: string, ...filters: string[]): HeldSession {
  return { clientId, lane: `solo/${clientId}`, subscriptions: filters.map(subscription) }
}

test('sessions are found again after a restart, in a folder that is made for them', (t) => {
  const file = join(folder(t), 'data', 'sessions.json')
  const book = SessionBook.open(file)
  book.hold([session('a', 'x/#'), session('b', 'y')])
  book.hold([session('a', 'x/#', 'z')])
  book.ended(['b', 'unknown'])
  assert.deepEqual(SessionBook.open(file).all(), [session('a', 'x/#', 'z')])
  assert.deepEqual(readdirSync(join(file, '..')), ['sessions.json'], 'no half-written file is left')
})

test('ages are written beside everything else, and never over what was held meanwhile', async (t) => {
  const file = join(folder(t), 'sessions.json')
  SessionBook.open(file).hold([session('a', 'x')])
  const book = SessionBook.open(file)
  await book.aged([{ clientId: 'a', heldSince: 5 }])
  assert.deepEqual(SessionBook.open(file).all(), [{ ...session('a', 'x'), heldSince: 5 }])
  const other = SessionBook.open(file)
  const writing = other.aged([{ clientId: 'a', heldSince: 7 }])
  other.hold([session('b', 'y')])
  await writing
  assert.deepEqual(SessionBook.open(file).all(), [{ ...session('a', 'x'), heldSince: 7 }, session('b', 'y')])
  assert.deepEqual(readdirSync(join(file, '..')), ['sessions.json'])
})

test('a file that cannot be read is an empty book', (t) => {
  const file = join(folder(t), 'sessions.json')
  assert.deepEqual(SessionBook.open(file).all(), [])
  for (const text of ['', '[{"clientId":', 'null', '{}', '[1]']) {
    writeFileSync(file, text)
    assert.deepEqual(SessionBook.open(file).all(), [], text)
  }
})

test('a disk that refuses is told once, and once more when it takes the book again', (t) => {
  const path = folder(t)
  const lines: string[] = []
  const logger = {
    ...silentLogger,
    info: (_: object, text: string) => lines.push(`info ${text}`),
    warn: (facts: object, text: string) => lines.push(`warn ${text}: ${'reason' in facts && typeof facts.reason}`),
  }
  writeFileSync(join(path, 'data'), '')
  const book = SessionBook.open(join(path, 'data', 'sessions.json'), logger)
  for (const name of ['a', 'b', 'c']) book.hold([session(name, 'x')])
  const refused = 'warn the sessions held at the broker could not be written: string'
  assert.deepEqual(lines, [refused])
  rmSync(join(path, 'data'))
  book.hold([session('d', 'x')])
  book.hold([session('e', 'x')])
  assert.deepEqual(lines, [refused, 'info the sessions held at the broker are written again'])
  assert.equal(SessionBook.open(join(path, 'data', 'sessions.json')).all().length, 5, 'all that it knew meanwhile')
})

test('retired is what a session holds and nobody asks for any more', () => {
  const held = session('a', 'x', 'y')
  assert.deepEqual(retiredFrom(held, [subscription('y'), subscription('z')]), [subscription('x')])
  assert.deepEqual(retiredFrom(undefined, [subscription('y')]), [])
})
