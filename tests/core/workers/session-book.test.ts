import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
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

test('retired is what a session holds and nobody asks for any more', () => {
  const held = session('a', 'x', 'y')
  assert.deepEqual(retiredFrom(held, [subscription('y'), subscription('z')]), [subscription('x')])
  assert.deepEqual(retiredFrom(undefined, [subscription('y')]), [])
})
