import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../../core/database/store.js'
import type { ClaimOutcome, DeadLetter } from '../../../core/delivery/delivery-store.js'
import { deadLetterService } from '../../../core/kernel/dead-letter-service.js'
import { type OwnDatabase, onAllDatabasesAtOnce, openStore, ownDatabase } from '../database/databases.js'

const ACTOR = { kind: 'cli', name: 'test' } as const
const LETTER: DeadLetter = {
  route: 'r',
  topic: 'plant/valve',
  payload: Buffer.from('open').toString('base64'),
  properties: {},
  deadline: 2_000_000_000_000,
  receivedAt: 0,
  qos: 1,
  retain: false,
  error: { code: 'DEVICE_TIMEOUT', message: 'no answer' },
  attempts: 3,
  failedAt: 1,
}

onAllDatabasesAtOnce('two gateways and the dead letters of one database', (kind) => {
  let own: OwnDatabase
  let here: Store
  let there: Store
  before(async () => {
    own = await ownDatabase(kind)
    here = await openStore(own.config, { instance: 'here' })
    there = await openStore(own.config, { instance: 'there' })
  })
  after(async () => {
    await here?.close()
    await there?.close()
    await own?.drop()
  })

  /** A gateway whose runs end when the test says so. */
  function gateway(store: Store, termMs?: number) {
    const ends: ((outcome: ClaimOutcome) => void)[] = []
    let began = () => {}
    const rerun = () => {
      began()
      return new Promise<ClaimOutcome>((resolve) => ends.push(resolve))
    }
    const service = deadLetterService(store.deadLetters, rerun, termMs === undefined ? {} : { termMs })
    /** Begins a retry; resolves when its command runs. */
    const running = async (id: string) => {
      const runs = new Promise<void>((resolve) => {
        began = resolve
      })
      const ended = service.retry(id, { force: false }, ACTOR)
      await Promise.race([runs, ended])
      return { ended }
    }
    return { ends, service, running }
  }

  test('a letter runs once at a time, wherever: a second retry is refused, and so is forgetting it', async () => {
    const id = await here.deadLetters.put(LETTER)
    const [one, other] = [gateway(here), gateway(there)]
    const { ended } = await one.running(id)
    for (const { service } of [one, other]) {
      await assert.rejects(service.retry(id, { force: true }, ACTOR), { code: 'DEAD_LETTER_BUSY' })
      await assert.rejects(service.forget(id, ACTOR), { code: 'DEAD_LETTER_BUSY' })
    }
    assert.deepEqual([one.ends.length, other.ends.length], [1, 0])
    one.ends[0]!({ ok: true, value: 1 })
    await ended
    assert.equal(await there.deadLetters.count(), 0)
    await assert.rejects(other.service.retry(id, { force: false }, ACTOR), { code: 'DEAD_LETTER_UNKNOWN' })
    await assert.rejects(other.service.forget(id, ACTOR), { code: 'DEAD_LETTER_UNKNOWN' })
  })

  test('of many retries asked for in the same moment one is a command', async () => {
    const id = await here.deadLetters.put(LETTER)
    let runs = 0
    const rerun = async (): Promise<ClaimOutcome> => {
      runs += 1
      return { ok: true, value: 1 }
    }
    const services = [here, there].map(({ deadLetters }) => deadLetterService(deadLetters, rerun))
    const asked = Array.from({ length: 20 }, (_, n) => services[n % 2]!.retry(id, { force: false }, ACTOR))
    const ended = await Promise.allSettled(asked)
    assert.equal(runs, 1)
    assert.equal(ended.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const each of ended) {
      // One that comes after it has ended finds nothing.
      if (each.status === 'rejected') assert.match(each.reason.code, /^DEAD_LETTER_(BUSY|UNKNOWN)$/)
    }
  })

  test('after one that failed the letter is there, whole, and may run again at once', async () => {
    const id = await here.deadLetters.put(LETTER)
    const [one, other] = [gateway(here), gateway(there)]
    const first = await one.running(id)
    one.ends[0]!({ ok: false, error: { code: 'DEVICE_TIMEOUT', message: 'no answer' } } as ClaimOutcome)
    await assert.rejects(first.ended, { code: 'DEVICE_TIMEOUT' })
    assert.deepEqual(await here.deadLetters.get(id), { ...LETTER, id })
    const second = await other.running(id)
    other.ends[0]!({ ok: true, value: 1 })
    await second.ended
    assert.equal(await here.deadLetters.count(), 0)
  })

  test('one that ran and could not be removed is told as one that ran', async () => {
    const closing = await openStore(own.config, { instance: 'closing' })
    const id = await here.deadLetters.put(LETTER)
    const one = gateway(closing)
    const { ended } = await one.running(id)
    await closing.close()
    one.ends[0]!({ ok: true, value: 1 })
    await assert.rejects(ended, { code: 'DATABASE_UNAVAILABLE', message: /has run, but could not be removed/ })
    assert.equal(await here.deadLetters.forget(id), 'busy')
    await here.deadLetters.remove(id)
  })

  test('one that runs long stays claimed; one of a gateway that ended may run again after the term', async () => {
    const id = await here.deadLetters.put(LETTER)
    const [one, other] = [gateway(here, 2_000), gateway(there, 2_000)]
    const { ended } = await one.running(id)
    const until = performance.now() + 3_000
    while (performance.now() < until) {
      await assert.rejects(other.service.retry(id, { force: false }, ACTOR), { code: 'DEAD_LETTER_BUSY' })
      await pause(20)
    }
    one.ends[0]!({ ok: false, error: { code: 'DEVICE_TIMEOUT', message: 'no answer' } } as ClaimOutcome)
    await assert.rejects(ended)
    // A gateway that is killed says nothing more of what it claimed.
    assert.equal(((await here.deadLetters.claim(id, 'killed', 1_000)) as DeadLetter).topic, LETTER.topic)
    await assert.rejects(other.service.retry(id, { force: false }, ACTOR), { code: 'DEAD_LETTER_BUSY' })
    for (;;) {
      const run = await other.running(id).catch((error: { code: string }) => error.code)
      if (run === 'DEAD_LETTER_BUSY') {
        await pause(20)
        continue
      }
      assert.ok(typeof run === 'object')
      other.ends[0]!({ ok: true, value: 1 })
      await run.ended
      break
    }
    assert.equal(await here.deadLetters.count(), 0)
  })
})
