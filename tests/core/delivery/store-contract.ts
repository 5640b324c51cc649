import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DeadLetter, DeliveryStore, ParkedHead, ParkedMessage } from '../../../core/delivery/delivery-store.js'

export interface OpenedStore {
  readonly store: DeliveryStore
  /** What is kept now, for the suite to look at. */
  letters(): Promise<readonly DeadLetter[]>
  parked(): Promise<readonly ParkedHead[]>
  close(): Promise<void>
}

/** What every delivery store does, whatever it keeps things in. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
  const contract = (title: string, run: (opened: OpenedStore) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const opened = await open()
      try {
        await run(opened)
      } finally {
        await opened.close()
      }
    })

  contract('a dead letter is kept whole', async ({ store, letters }) => {
    await store.deadLetter(letter('a'))
    await store.deadLetter(letter('b'))
    const kept = [...(await letters())].sort((one, other) => one.topic.localeCompare(other.topic))
    assert.deepEqual(
      kept.map(({ topic, payload, error, attempts }) => ({ topic, payload, error, attempts })),
      [letter('a'), letter('b')].map(({ topic, payload, error, attempts }) => ({ topic, payload, error, attempts })),
    )
  })

  contract('a parked message is there until it is unparked, in the order of parking', async ({ store, parked }) => {
    const ids = []
    for (const topic of ['a', 'b', 'c']) ids.push(await store.park(parkable(topic)))
    assert.equal(new Set(ids).size, 3)
    assert.deepEqual(
      (await parked()).map(({ topic }) => topic),
      ['a', 'b', 'c'],
    )
    assert.deepEqual(
      (await parked()).map(({ id }) => id),
      ids,
    )
    await store.unpark(ids[1]!)
    await store.unpark(ids[1]!)
    assert.deepEqual(
      (await parked()).map(({ topic }) => topic),
      ['a', 'c'],
    )
  })

  contract('a parked message comes back whole by its id', async ({ store }) => {
    const id = await store.park(parkable('a'))
    const other = await store.park({ ...parkable('b'), payload: Buffer.alloc(300_000, 7).toString('base64') })
    const { keeper: _, ...kept } = (await store.fetchParked(id))!
    assert.deepEqual(JSON.parse(JSON.stringify(kept)), JSON.parse(JSON.stringify({ ...parkable('a'), id })))
    assert.deepEqual(Buffer.from((await store.fetchParked(other))!.payload, 'base64'), Buffer.alloc(300_000, 7))
    await store.unpark(id)
    assert.equal((await store.fetchParked(other))?.topic, 'b')
  })

  contract('the first who claims runs; later ones wait, then get the outcome', async ({ store }) => {
    assert.deepEqual(await store.claim('k', 'h'), { state: 'claimed' })
    assert.deepEqual(await store.claim('k', 'h'), { state: 'running' })
    const waiting = store.claim('k', 'h')
    await store.complete('k', { ok: true, value: { v: 1 } })
    const found = await waiting
    assert.ok(found.state === 'running' || found.state === 'done')
    assert.deepEqual(await store.claim('k', 'h'), { state: 'done', outcome: { ok: true, value: { v: 1 } } })
  })

  contract('of many who claim at once one runs', async ({ store }) => {
    const claims = await Promise.all(Array.from({ length: 8 }, () => store.claim('k', 'h')))
    assert.deepEqual(claims.map(({ state }) => state).sort(), ['claimed', ...Array(7).fill('running')])
  })

  contract('a failed outcome is kept as well', async ({ store }) => {
    await store.claim('k', 'h')
    const outcome = { ok: false as const, error: { code: 'DEVICE_FAILURE' as const, message: 'broken' } }
    await store.complete('k', outcome)
    assert.deepEqual(await store.claim('k', 'h'), { state: 'done', outcome })
  })

  contract('a key with another payload is refused, running or done', async ({ store }) => {
    await store.claim('k', 'h')
    await assert.rejects(store.claim('k', 'other'), { code: 'IDEMPOTENCY_KEY_REUSED' })
    await store.complete('k', { ok: true, value: null })
    await assert.rejects(store.claim('k', 'other'), { code: 'IDEMPOTENCY_KEY_REUSED' })
  })

  contract('a claim that is given back can be taken again, with any payload; an outcome stays', async ({ store }) => {
    await store.claim('k', 'h')
    await store.release('k')
    assert.deepEqual(await store.claim('k', 'other'), { state: 'claimed' })
    await store.complete('k', { ok: true, value: 1 })
    await store.release('k')
    assert.equal((await store.claim('k', 'other')).state, 'done')
  })

  contract('unknown ids and keys are no error', async ({ store }) => {
    await store.unpark('nothing')
    await store.release('nothing')
    await store.complete('nothing', { ok: true, value: 1 })
    assert.deepEqual(await store.claim('nothing', 'h'), { state: 'claimed' })
  })
}

export function parkable(topic: string): Omit<ParkedMessage, 'id'> {
  return {
    route: 'r',
    topic,
    payload: Buffer.from('{}').toString('base64'),
    qos: 1,
    retain: false,
    properties: { correlationData: 'AAE=', userProperties: { a: 'b' } },
    receivedAt: 1_700_000_000_000,
    deadline: undefined,
    key: topic,
    attempt: 1,
  }
}

export function letter(topic: string): DeadLetter {
  const { key: _key, attempt: _attempt, ...stored } = parkable(topic)
  return {
    ...stored,
    error: { code: 'HANDLER_FAILED', message: 'boom', details: { n: 1 } },
    attempts: 3,
    failedAt: 1_700_000_000_500,
  }
}
