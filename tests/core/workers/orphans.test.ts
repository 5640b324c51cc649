import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { silentLogger } from '../../../core/observability/logger.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { adoptOrphans } from '../../../core/workers/orphans.js'
import { SessionBook } from '../../../core/workers/session-book.js'
import { until } from '../delivery/harness.js'

const session = (clientId: string) => ({ clientId, lane: `${clientId}/default`, subscriptions: [] })

test('a session that could not be drained at once is tried until it is; its own are never touched', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-orphans-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const book = SessionBook.open(join(folder, 'sessions.json'))
  book.hold([session('own'), session('a'), session('b'), session('c')])
  const tried: string[] = []
  let lives = true
  const worker = {
    sessions: [session('own')],
    adopt: async ({ clientId }: { clientId: string }) => {
      tried.push(clientId)
      if (tried.length === 2) throw new Error('the broker refused')
      return tried.length === 1 ? ('kept' as const) : ('drained' as const)
    },
  }
  const clock: Clock = { ...systemClock, after: (_ms, run) => systemClock.after(1, run) }
  await adoptOrphans({ worker, book, logger: silentLogger, clock, lives: () => lives })
  await until('all are ended', () => book.all().length === 1)
  assert.deepEqual(tried, ['a', 'b', 'c', 'a', 'b'])
  assert.deepEqual(
    book.all().map(({ clientId }) => clientId),
    ['own'],
  )
  book.hold([session('d')])
  lives = false
  await adoptOrphans({ worker, book, logger: silentLogger, clock, lives: () => lives })
  assert.equal(tried.length, 5)
  book.flush()
})
