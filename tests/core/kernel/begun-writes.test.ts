import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import { BegunWrites } from '../../../core/kernel/begun-writes.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'

let dir: string
let spool: Spool
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'routemq-begun-'))
  spool = await Spool.open({ dir, maxBytes: 1_000_000 })
})
afterEach(async () => {
  await spool.close()
  await rm(dir, { recursive: true })
})

const entry = (id: string): AuditInput => ({
  id,
  actor: { kind: 'http', name: 'test' },
  action: 'write',
  outcome: 'unknown',
  code: 'WRITE_OUTCOME_UNKNOWN',
})
const life = () => new BegunWrites({ spool, logger: silentLogger, sweepMs: 1 })

/** Ids that the next life audits. */
async function left(): Promise<(string | undefined)[]> {
  const ids: (string | undefined)[] = []
  await life().recover(async ({ id }) => void ids.push(id))
  assert.equal(spool.count, 0)
  return ids
}

test('a write that has no end is audited by the next life, with all its items', async () => {
  const first = life()
  await first.recover(async () => assert.fail('nothing was left'))
  const end = await first.begin([entry('ended')])
  await first.begin([entry('a'), entry('b')])
  end()
  await first.stop()
  assert.deepEqual(await left(), ['a', 'b'])
})

test('what has ended is removed, once nothing before it is under way', async () => {
  const writes = life()
  await writes.recover(async () => {})
  const [one, two] = [await writes.begin([entry('1')]), await writes.begin([entry('2')])]
  two()
  await writes.stop()
  assert.equal(spool.count, 2)
  one()
  await writes.stop()
  assert.equal(spool.count, 0)
})

test('what this life began is not taken for what an earlier one left, nor is that removed before it is audited', async () => {
  const earlier = await life().begin([entry('earlier')])
  assert.equal(typeof earlier, 'function')
  const writes = life()
  const end = await writes.begin([entry('mine')])
  end()
  await writes.begin([entry('under way')])
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(spool.count, 3)
  const audited: (string | undefined)[] = []
  await writes.recover(async ({ id }) => void audited.push(id))
  // `mine` has ended: what its entry says is in the audit already, and stays.
  assert.deepEqual(audited, ['earlier', 'mine'])
  assert.equal(spool.count, 1)
})

test('a disk that takes nothing stops no write', async () => {
  const writes = life()
  const end = await writes.begin([{ ...entry('large'), details: { text: 'x'.repeat(2_000_000) } }])
  end()
  assert.equal(spool.count, 0)
})
