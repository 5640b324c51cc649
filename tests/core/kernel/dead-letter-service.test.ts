import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DeadLetterRepository } from '../../../core/database/repositories/dead-letters.js'
import type { ClaimOutcome, DeadLetterRecord } from '../../../core/delivery/delivery-store.js'
import { deadLetterService } from '../../../core/kernel/dead-letter-service.js'

const ACTOR = { kind: 'cli', name: 'test' } as const
const LETTER: DeadLetterRecord = {
  id: 'a',
  route: 'r',
  topic: 'plant/valve',
  payload: Buffer.from('open'),
  properties: {},
  receivedAt: 0,
  qos: 1,
  retained: false,
  error: { code: 'DEVICE_TIMEOUT', message: 'no answer' },
  attempts: 3,
  failedAt: 1,
} as unknown as DeadLetterRecord

function setUp() {
  const kept = new Map([[LETTER.id, LETTER]])
  const letters = {
    get: async (id: string) => kept.get(id),
    remove: async (id: string) => kept.delete(id),
  } as unknown as DeadLetterRepository
  const ends: ((outcome: ClaimOutcome) => void)[] = []
  let began = () => {}
  const service = deadLetterService(letters, () => {
    began()
    return new Promise((resolve) => ends.push(resolve))
  })
  /** Begins a retry; resolves when its command runs. */
  const running = async () => {
    const runs = new Promise<void>((resolve) => {
      began = resolve
    })
    const ended = service.retry(LETTER.id, { force: false }, ACTOR)
    await runs
    return { ended }
  }
  return { kept, ends, service, running }
}

test('a letter runs once at a time: a second retry is refused, and so is forgetting it', async () => {
  const { kept, ends, service, running } = setUp()
  const { ended } = await running()
  await assert.rejects(service.retry('a', { force: true }, ACTOR), { code: 'DEAD_LETTER_BUSY' })
  await assert.rejects(service.forget('a', ACTOR), { code: 'DEAD_LETTER_BUSY' })
  assert.equal(ends.length, 1)
  ends[0]!({ ok: true, value: 1 })
  await ended
  assert.equal(kept.size, 0)
  await assert.rejects(service.retry('a', { force: false }, ACTOR), { code: 'DEAD_LETTER_UNKNOWN' })
})

test('two retries asked for in the same moment are one command', async () => {
  const { ends, service, running } = setUp()
  const first = running()
  await assert.rejects(service.retry('a', { force: false }, ACTOR), { code: 'DEAD_LETTER_BUSY' })
  const { ended } = await first
  assert.equal(ends.length, 1)
  ends[0]!({ ok: true, value: 1 })
  await ended
})

test('after one that failed the letter is there and may run again', async () => {
  const { kept, ends, running } = setUp()
  const first = await running()
  ends[0]!({ ok: false, error: { code: 'DEVICE_TIMEOUT', message: 'no answer' } } as ClaimOutcome)
  await assert.rejects(first.ended, { code: 'DEVICE_TIMEOUT' })
  assert.equal(kept.size, 1)
  const second = await running()
  ends[1]!({ ok: true, value: 1 })
  await second.ended
  assert.equal(kept.size, 0)
})
