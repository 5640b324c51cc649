import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Patience } from '../../../core/database/patience.js'
import type { ReadingFilter } from '../../../core/database/readings/query.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store } from '../../../core/database/store.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'

const T0 = 1_767_225_600_000_000
const ROWS = 24_000
/** Milliseconds between two readings of the point that is read less often. */
const SLOW = 400

let sequence = 0
const row = (point: string, seconds: number, value: number): ReadingWrite => {
  sequence += 1
  return {
    source: { instance: 'h', boot: 'h' },
    sequence,
    device_id: 'meter',
    point,
    unit: null,
    time_us: T0 + seconds * 1e6,
    value,
    quality: 'good',
    reason: null,
  }
}

onEachDatabase((kind) => {
  describe(`readings that are rare on ${kind}`, () => {
    let own: OwnDatabase
    let store: Store
    before(async () => {
      own = await ownDatabase(kind)
      store = await openStore(own.config)
      const rows = Array.from({ length: ROWS }, (_, n) => row('fast', n, n))
      for (let n = 0; n < ROWS; n += SLOW) rows.push(row('slow', n, n))
      for (let at = 0; at < rows.length; at += 2_000) await store.readings.insertBatch(rows.slice(at, at + 2_000))
      await store.readings.settle()
      // What was taken a moment ago stands beside the rest on SQLite.
      await store.readings.insertBatch([row('fast', ROWS, 1_234), row('slow', ROWS / 2 + 0.5, 11)])
    })
    after(async () => {
      await store?.close()
      await own?.drop()
    })

    async function pages(filter: ReadingFilter, limit: number): Promise<string[][]> {
      const found: string[][] = []
      let cursor: string | undefined
      do {
        const query = { device_id: 'meter', ...filter, limit, ...(cursor === undefined ? {} : { cursor }) }
        const { readings, next } = await store.readings.query(query)
        found.push(readings.map(({ point, value }) => `${point} ${value}`))
        cursor = next ?? undefined
        assert.ok(found.length < 1_000, 'no end')
      } while (cursor !== undefined)
      return found
    }

    const RARE = ['fast 1234', 'slow 11', 'slow 8000', 'fast 8000', 'fast 1234', 'fast 11']
    const rare = { min: -1, max: 8_000 }
    const isRare = (line: string) => ['fast 1234', 'slow 11', 'slow 8000', 'fast 8000', 'fast 11'].includes(line)

    test('a page ends with what was found when its time wears, and its cursor goes on from there', async (t) => {
      const whole = await pages({ max: 11 }, 1_000)
      t.mock.getter(Patience.prototype, 'isWearing', () => true)
      const stepwise = await pages({ max: 11 }, 1_000)
      assert.deepEqual(whole.length, 1)
      assert.equal(whole[0]!.length, 14)
      assert.deepEqual(stepwise.flat(), whole.flat())
      assert.ok(stepwise.length >= 4, `${stepwise.length} pages`)
      assert.ok(
        stepwise.slice(0, -1).some((page) => page.length === 0),
        'an empty page has a following one',
      )
      const many = await pages(rare, 300)
      assert.deepEqual(many.flat().filter(isRare), RARE)
      assert.equal(many.flat().length, 8_001 + 21 + 2)
    })

    test('where the time is over within a step, the page gives the steps before it', async (t) => {
      const whole = await pages({ point: 'fast', max: 11 }, 1_000)
      let left = 0
      const check = Patience.prototype.check
      t.mock.method(Patience.prototype, 'check', function (this: Patience) {
        check.call(this)
        left -= 1
        if (left < 0) throw new RouteMQError('HISTORY_TIMEOUT', 'too long')
      })
      const readings: string[] = []
      let cursor: string | undefined
      let asked = 0
      do {
        left = 3 // one step, and half of the next
        const query = { device_id: 'meter', point: 'fast', max: 11, ...(cursor === undefined ? {} : { cursor }) }
        const page = await store.readings.query(query)
        readings.push(...page.readings.map(({ point, value }) => `${point} ${value}`))
        cursor = page.next ?? undefined
        asked += 1
      } while (cursor !== undefined)
      assert.deepEqual(readings, whole.flat())
      assert.ok(asked >= 4, `${asked} pages`)
      left = 1
      await assert.rejects(store.readings.query({ device_id: 'meter', point: 'fast', max: 11 }), {
        code: 'HISTORY_TIMEOUT',
      })
    })

    test('CSV with a filter that fits next to nothing comes to its end', async (t) => {
      t.mock.getter(Patience.prototype, 'isWearing', () => true)
      const lines: string[] = []
      for await (const chunk of store.readings.csv({ device_id: 'meter', value: 3 })) lines.push(chunk)
      assert.equal(lines.join('').trim().split('\n').length, 2)
      assert.match(lines.join(''), /2026-01-01T00:00:03\.000000Z,meter,fast,3,/)
    })
  })
})
