import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type { ReadingQuery } from '../../../core/database/readings/query.js'
import type { ReadingRecord, ReadingValue, ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store } from '../../../core/database/store.js'
import { onEachDatabase } from './databases.js'
import { ownStore } from './own-store.js'

const HOUR = 3_600_000_000
const micros = (iso: string) => Date.parse(iso) * 1_000

let sequence = 0
function row(
  device_id: string,
  point: string,
  time_us: number,
  value: ReadingValue,
  quality = 'good' as const,
): ReadingWrite {
  sequence += 1
  return {
    source: { instance: 'h', boot: 'h' },
    sequence,
    device_id,
    point,
    unit: 'V',
    time_us,
    value,
    quality,
    reason: null,
  }
}

onEachDatabase((kind) => {
  describe(`history on ${kind}`, () => {
    let store: Store
    before(async () => {
      ;({ store } = await ownStore(kind))
    })

    async function pages(query: ReadingQuery): Promise<ReadingRecord[][]> {
      const out: ReadingRecord[][] = []
      let cursor: string | undefined
      do {
        const page = await store.readings.query({ ...query, ...(cursor === undefined ? {} : { cursor }) })
        out.push([...page.readings])
        cursor = page.next ?? undefined
      } while (cursor !== undefined)
      return out
    }

    test('pages are newest first, complete and without overlap, also where times are equal', async () => {
      const t0 = micros('2026-01-01T00:00:00Z')
      // Ten rows at each microsecond, over three points: ties are decided by series and sequence.
      const rows = Array.from({ length: 300 }, (_, n) => row('pages', `p${n % 3}`, t0 + Math.floor(n / 10), n))
      await store.readings.insertBatch(rows)
      for (const limit of [1, 7, 100, 299, 300, 1_000]) {
        const found = await pages({ device_id: 'pages', limit })
        assert.ok(found.every((page) => page.length <= limit))
        const flat = found.flat()
        assert.equal(flat.length, 300)
        assert.equal(new Set(flat.map((reading) => reading.sequence)).size, 300)
        for (let n = 1; n < flat.length; n++) assert.ok(flat[n]!.time <= flat[n - 1]!.time)
      }
      const one = (await pages({ device_id: 'pages', point: 'p1', limit: 9 })).flat()
      assert.deepEqual(
        one.map(({ value }) => value),
        rows
          .filter(({ point }) => point === 'p1')
          .map(({ value }) => value)
          .reverse(),
      )
      const two = await store.readings.query({ device_id: 'pages', point: ['p0', 'p2'], limit: 1_000 })
      assert.equal(two.readings.length, 200)
    })

    test('pages over more points than one statement covers are complete, wherever the newest rows are', async () => {
      const t0 = micros('2025-12-01T00:00:00Z')
      // The later points have the newer rows, but for every seventh, and some share their times.
      const rows = Array.from({ length: 400 }, (_, n) => {
        const point = n % 50
        const newer = point % 7 === 0 ? -point : point
        return row('spread', `p${String(point).padStart(2, '0')}`, t0 + newer * 1_000 + Math.floor(n / 100), n)
      })
      await store.readings.insertBatch(rows)
      const order = (a: ReadingWrite, b: ReadingWrite) => b.time_us - a.time_us
      for (const limit of [7, 45, 1_000]) {
        const found = (await pages({ device_id: 'spread', limit })).flat()
        assert.deepEqual(
          found.map(({ time }) => micros(time)),
          rows.toSorted(order).map(({ time_us }) => time_us - (time_us % 1_000)),
        )
        assert.equal(new Set(found.map((reading) => reading.sequence)).size, 400)
      }
    })

    test('history is read while everything that writes is busy', async () => {
      const t0 = micros('2026-01-09T00:00:00Z')
      await store.readings.insertBatch([row('busy', 'p', t0, 1)])
      let release = () => {}
      const released = new Promise<void>((resolve) => {
        release = resolve
      })
      let begun = 0
      let allBegun = () => {}
      const busy = new Promise<void>((resolve) => {
        allBegun = resolve
      })
      // As many as there are connections.
      const connections = kind === 'sqlite' ? 1 : 4
      const transactions = Array.from({ length: connections }, () =>
        store.transaction(async () => {
          begun += 1
          if (begun === connections) allBegun()
          await released
        }),
      )
      await busy
      const { readings } = await store.readings.query({ device_id: 'busy' })
      assert.equal(readings.length, 1)
      assert.deepEqual(await store.audit.list(), [])
      release()
      await Promise.all(transactions)
    })

    test('a page holds at most 1,000, whatever is asked for', async () => {
      const t0 = micros('2026-01-02T00:00:00Z')
      await store.readings.insertBatch(Array.from({ length: 1_500 }, (_, n) => row('many', 'p', t0 + n, n)))
      const { readings, next } = await store.readings.query({ device_id: 'many', limit: 99_999 })
      assert.equal(readings.length, 1_000)
      assert.notEqual(next, null)
      assert.equal((await store.readings.query({ device_id: 'many', limit: -5 })).readings.length, 1)
    })

    test('rows that arrive while pages are turned do not shift them', async () => {
      const t0 = micros('2026-01-03T00:00:00Z')
      await store.readings.insertBatch([1, 2, 3, 4].map((n) => row('moving', 'p', t0 + n, n)))
      const first = await store.readings.query({ device_id: 'moving', limit: 2 })
      await store.readings.insertBatch([row('moving', 'p', t0 + 9, 9)])
      const second = await store.readings.query({ device_id: 'moving', limit: 2, cursor: first.next! })
      assert.deepEqual(
        second.readings.map(({ value }) => value),
        [2, 1],
      )
      assert.equal(second.next, null)
    })

    test('filters by time, value, range and quality', async () => {
      const t0 = micros('2026-01-04T00:00:00Z')
      const values = [1, 2.5, true, 'open', '9007199254740993', null] as const
      await store.readings.insertBatch(values.map((value, n) => row('filters', 'p', t0 + n, value)))
      await store.readings.insertBatch([{ ...row('filters', 'p', t0 + 6, null), quality: 'bad', reason: 'timeout' }])
      const found = async (query: Omit<ReadingQuery, 'device_id'>) =>
        (await store.readings.query({ device_id: 'filters', ...query })).readings.map(({ value }) => value)
      assert.deepEqual(await found({ from: t0 + 1, to: t0 + 3 }), [true, 2.5])
      assert.deepEqual(await found({ from: '2026-01-04T01:00:00.000004+01:00' }), [null, null, '9007199254740993'])
      assert.deepEqual(await found({ value: 2.5 }), [2.5])
      assert.deepEqual(await found({ value: 1 }), [1], 'the number 1 is not true')
      assert.deepEqual(await found({ value: true }), [true])
      assert.deepEqual(await found({ value: 'open' }), ['open'])
      assert.deepEqual(await found({ value: '9007199254740993' }), ['9007199254740993'])
      assert.deepEqual(await found({ min: 2, max: 3 }), [2.5])
      assert.deepEqual(await found({ quality: 'bad' }), [null])
      assert.deepEqual(await found({ value: "' or 1=1 --" }), [])
      assert.deepEqual((await store.readings.query({ device_id: "x' or '1'='1" })).readings, [])
      assert.deepEqual((await store.readings.query({ device_id: 'filters', point: [] })).readings, [])
    })

    test('what is no cursor, time, zone or width is told, naming the field', async () => {
      const refused = (field: string) => (error: { code?: string; details?: { field?: string } }) =>
        error.code === 'REQUEST_INVALID' && error.details?.field === field
      await assert.rejects(store.readings.query({ device_id: 'x', cursor: 'abc' }), refused('cursor'))
      await assert.rejects(store.readings.query({ device_id: 'pages', from: 'yesterday' }), refused('from'))
      await assert.rejects(store.readings.query({ device_id: 'pages', to: '2026-01-01T00:00:00' }), refused('to'))
      const range = { device_id: 'pages', point: 'p0', from: 0, to: HOUR }
      await assert.rejects(store.readings.buckets({ ...range, every: 'day', tz: 'Mars/Base' }), refused('tz'))
      await assert.rejects(store.readings.buckets({ ...range, every: 0 }), refused('every'))
      await assert.rejects(store.readings.buckets({ ...range, every: '1s' }), refused('every'))
      const wide = Buffer.from(JSON.stringify([0, 1, 2 ** 31, 1])).toString('base64url')
      await assert.rejects(store.readings.query({ device_id: 'pages', cursor: wide }), refused('cursor'))
      // Refused before the calendar is asked, which would not know the zone.
      const years = { ...range, to: micros('2026-01-01T00:00:00Z'), every: 'day', tz: 'Mars/Base' } as const
      await assert.rejects(store.readings.buckets(years), refused('every'))
    })

    test('days of a device that is not known cost no look at the calendar', async (context) => {
      const looks = context.mock.method(Intl.DateTimeFormat.prototype, 'formatToParts')
      const from = '2026-01-01T00:00:00Z'
      const query = { device_id: 'nobody', point: 'p', from, to: '2027-01-01T00:00:00Z', every: 'day' } as const
      assert.deepEqual(await store.readings.buckets({ ...query, tz: 'Europe/Paris' }), [])
      assert.equal(looks.mock.callCount(), 0)
    })

    test('the last value of a bucket is exact, and so is a unit of fifty characters', async () => {
      const unit = 'ä'.repeat(50)
      const exact = { device_id: 'exact', point: 'counter', unit }
      const at = Date.parse('2026-02-01T00:00:00Z') * 1e3
      await store.readings.insertBatch(
        ['9007199254740992', '9007199254740993'].map((value, n) => ({
          ...exact,
          source: { instance: 'h', boot: 'exact' },
          sequence: n + 1,
          time_us: at + n * 1_000,
          value,
          quality: 'good' as const,
          reason: null,
        })),
      )
      const { readings } = await store.readings.query({ device_id: 'exact' })
      assert.deepEqual(
        readings.map((reading) => [reading.unit, reading.value]),
        [
          [unit, '9007199254740993'],
          [unit, '9007199254740992'],
        ],
      )
      const span = { from: at, to: at + 60e6 }
      for (const every of ['1m', 'day'] as const) {
        const [bucket] = await store.readings.buckets({ device_id: 'exact', point: 'counter', ...span, every })
        assert.deepEqual([bucket?.count, bucket?.last], [2, '9007199254740993'], every)
      }
    })

    test('buckets count, average, and tell minimum, maximum and the last value', async () => {
      const t0 = micros('2026-01-05T00:00:00Z')
      const rows = [0, 1, 2, 3, 14, 15].map((minute) => row('buckets', 'p', t0 + minute * 60_000_000, minute))
      await store.readings.insertBatch([...rows, row('buckets', 'p', t0 + 5, null)])
      const found = await store.readings.buckets({
        device_id: 'buckets',
        point: 'p',
        from: '2026-01-05T00:00:00Z',
        to: '2026-01-05T01:00:00Z',
        every: '5m',
      })
      assert.deepEqual(found, [
        {
          start: '2026-01-05T00:00:00.000000Z',
          end: '2026-01-05T00:05:00.000000Z',
          count: 4,
          avg: 1.5,
          min: 0,
          max: 3,
          last: 3,
        },
        {
          start: '2026-01-05T00:10:00.000000Z',
          end: '2026-01-05T00:15:00.000000Z',
          count: 1,
          avg: 14,
          min: 14,
          max: 14,
          last: 14,
        },
        {
          start: '2026-01-05T00:15:00.000000Z',
          end: '2026-01-05T00:20:00.000000Z',
          count: 1,
          avg: 15,
          min: 15,
          max: 15,
          last: 15,
        },
      ])
    })

    test('days of a zone have 23 and 25 hours at the changes of the clock', async () => {
      const rows: ReadingWrite[] = []
      for (const start of ['2026-03-28T00:00:00+01:00', '2026-10-24T00:00:00+02:00']) {
        for (let hour = 0; hour < 73; hour++) rows.push(row('dst', 'p', micros(start) + hour * HOUR, hour))
      }
      await store.readings.insertBatch(rows)
      const days = (from: string, to: string) =>
        store.readings.buckets({ device_id: 'dst', point: 'p', from, to, every: 'day', tz: 'Europe/Berlin' })
      const spring = await days('2026-03-28T00:00:00+01:00', '2026-03-31T00:00:00+02:00')
      assert.deepEqual(
        spring.map(({ start, end, count }) => [start, end, count]),
        [
          ['2026-03-27T23:00:00.000000Z', '2026-03-28T23:00:00.000000Z', 24],
          ['2026-03-28T23:00:00.000000Z', '2026-03-29T22:00:00.000000Z', 23],
          ['2026-03-29T22:00:00.000000Z', '2026-03-30T22:00:00.000000Z', 24],
        ],
      )
      const autumn = await days('2026-10-24T00:00:00+02:00', '2026-10-27T00:00:00+01:00')
      assert.deepEqual(
        autumn.map(({ end, count, last }) => [end, count, last]),
        [
          ['2026-10-24T22:00:00.000000Z', 24, 23],
          ['2026-10-25T23:00:00.000000Z', 25, 48],
          ['2026-10-26T23:00:00.000000Z', 24, 72],
        ],
      )
    })

    test('a clock that is set back an hour loses no row and mixes none up', async () => {
      const t0 = micros('2026-05-01T12:00:00Z')
      const before = Array.from({ length: 60 }, (_, minute) => row('step', 'p', t0 + minute * 60_000_000, minute))
      const again = Array.from({ length: 60 }, (_, minute) =>
        row('step', 'p', t0 + minute * 60_000_000, 1_000 + minute),
      )
      await store.readings.insertBatch(before)
      await store.readings.insertBatch(again)
      await store.readings.insertBatch([...before, ...again]) // replayed
      const flat = (await pages({ device_id: 'step', limit: 11 })).flat()
      assert.equal(flat.length, 120)
      assert.equal(new Set(flat.map((reading) => reading.value)).size, 120)
      const [bucket] = await store.readings.buckets({
        device_id: 'step',
        point: 'p',
        from: t0,
        to: t0 + HOUR,
        every: '1h',
      })
      assert.equal(bucket?.count, 120)
      assert.equal(bucket?.last, 1_059, 'of two at one time the later one measured')
    })

    test('CSV is a stream of the same rows, with what spreadsheets would run disarmed', async () => {
      const t0 = micros('2026-06-01T00:00:00Z')
      await store.readings.insertBatch([
        row('csv', 'p', t0, 'a "quoted", text'),
        row('csv', 'p', t0 + 1, '=1+1'),
        row('csv', 'p', t0 + 2, -2.5),
        row('csv', 'p', t0 + 3, null),
        ...Array.from({ length: 2_500 }, (_, n) => row('csv', 'p', t0 - 1 - n, n)),
      ])
      const chunks: string[] = []
      for await (const chunk of store.readings.csv({ device_id: 'csv' })) chunks.push(chunk)
      assert.equal(chunks.length, 4, 'a header and three pages')
      const lines = chunks.join('').trimEnd().split('\n')
      assert.equal(lines.length, 2_505)
      assert.deepEqual(lines.slice(0, 5), [
        'time,device_id,point,value,unit,quality,reason',
        '2026-06-01T00:00:00.000003Z,csv,p,,V,good,',
        '2026-06-01T00:00:00.000002Z,csv,p,-2.5,V,good,',
        "2026-06-01T00:00:00.000001Z,csv,p,'=1+1,V,good,",
        '2026-06-01T00:00:00.000000Z,csv,p,"a ""quoted"", text",V,good,',
      ])
    })

    test('all devices can be asked at once while their points are few', async () => {
      const { readings } = await store.readings.query({
        point: 'p',
        from: micros('2026-06-01T00:00:00Z'),
        limit: 1_000,
      })
      assert.ok(readings.every(({ point }) => point === 'p'))
      await store.readings.insertBatch(
        Array.from({ length: 501 }, (_, n) => row(`crowd-${n}`, 'crowded', micros('2026-07-01T00:00:00Z'), n)),
      )
      await assert.rejects(store.readings.query({ point: 'crowded' }), { code: 'REQUEST_INVALID' })
    })
  })
})
