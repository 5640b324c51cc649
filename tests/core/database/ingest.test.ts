import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { type RawBuilder, sql } from 'kysely'
import { Ingest } from '../../../core/database/ingest.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store } from '../../../core/database/store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { onEachDatabase } from './databases.js'
import { ownStore } from './own-store.js'
import { sample } from './samples.js'

onEachDatabase((kind) => {
  describe(`ingest on ${kind}`, () => {
    let store: Store
    before(async () => {
      ;({ store } = await ownStore(kind))
    })
    const one = async (query: RawBuilder<unknown>) =>
      Number(Object.values((await query.execute(store.kysely)).rows[0] as object)[0])

    test('every row of every sample is there once, with its values', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i' })
      for (let slot = 0; slot < 200; slot++) await ingest.accept([sample('dev-a', slot), sample('dev-b', slot)])
      await ingest.flush()
      await store.readings.settle()
      assert.equal(await one(sql`select count(*) from routemq_readings`), 2_000)
      assert.equal(await one(sql`select sum(value) from routemq_readings`), 2 * (19_900 * 5 * 1_000 + 200 * 10))
      assert.equal(ingest.stats().inserted, 2_000)
      await ingest.stop()
      await assert.rejects(ingest.accept([sample('dev-a', 1)]), { code: 'SHUTTING_DOWN' })
    })

    test('a batch that is inserted again changes nothing; another life of the same clock adds its own', async () => {
      const row = (boot: string, sequence: number): ReadingWrite => ({
        source: { instance: 'again', boot },
        sequence,
        device_id: 'dev-again',
        point: 'p',
        unit: null,
        time_us: 1_700_000_000_000_000,
        value: sequence,
        quality: 'good',
        reason: null,
      })
      for (let n = 0; n < 3; n++) await store.readings.insertBatch([row('x', 1), row('x', 2), row('y', 1)])
      const { readings } = await store.readings.query({ device_id: 'dev-again' })
      assert.equal(readings.length, 3)
    })

    test('every kind of value comes back exactly', async () => {
      const values = [
        0.1,
        -0,
        1e300,
        5e-324,
        true,
        false,
        null,
        '9007199254740993',
        '-9223372036854775808',
        '18446744073709551615',
        'text with "quotes", \\ and \u{1F321}',
        '',
        "'; drop table routemq_readings; --",
        [1, 65_535, 0],
        [true, false],
      ] as const
      await store.readings.insertBatch(
        values.map((value, sequence) => ({
          source: { instance: 'v', boot: 'v' },
          sequence,
          device_id: 'dev-values',
          point: 'p',
          unit: sequence % 2 ? '°C' : null,
          time_us: 1_700_000_000_000_000 + sequence,
          value,
          quality: value === null ? 'bad' : 'good',
          reason: value === null ? 'timeout' : null,
        })),
      )
      const { readings } = await store.readings.query({ device_id: 'dev-values' })
      assert.deepEqual(
        readings.map(({ value }) => value).reverse(),
        values.map((value) => (value === 0 ? 0 : value)),
      )
      assert.deepEqual(
        readings.filter(({ quality }) => quality === 'bad').map(({ reason, value }) => [reason, value]),
        [['timeout', null]],
      )
      assert.equal(readings[0]?.unit, '°C')
      assert.equal(readings[0]?.time, '2023-11-14T22:13:20.000014Z')
    })

    test('a target without points is kept as its block', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i' })
      const { block, ...rest } = sample('dev-raw', 1, 0)
      const failed = { quality: 'bad', reason: 'DEVICE_TIMEOUT' } as const
      await ingest.accept([
        { ...rest, block: { ...block, address: 10, count: 3, values: [1, 2, 3] } },
        { ...rest, block: { ...block, address: 20, count: 1, values: [7] } },
        { ...rest, block: { ...block, address: 30, count: 1, values: [], ...failed } },
      ])
      await ingest.stop()
      const { readings } = await store.readings.query({ device_id: 'dev-raw' })
      assert.deepEqual(Object.fromEntries(readings.map(({ point, quality, reason }) => [point, reason ?? quality])), {
        'holding/10/3': 'good',
        'holding/20/1': 'good',
        'holding/30/1': 'DEVICE_TIMEOUT',
      })
      assert.deepEqual(Object.fromEntries(readings.map(({ point, value }) => [point, value])), {
        'holding/10/3': [1, 2, 3],
        'holding/20/1': 7,
        'holding/30/1': null,
      })
      const tens = await store.readings.query({
        device_id: 'dev-raw',
        block: { register_type: 'holding', address: 10 },
      })
      assert.deepEqual(
        tens.readings.map(({ point }) => point),
        ['holding/10/3'],
      )
    })

    test('a sample whose time is none is counted; its neighbours are stored', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i', batchRows: 100 })
      const bad = sample('dev-refused', 3, 1)
      const out = { ...bad, points: [{ ...bad.points[0]!, timestamp: 1e30 }] }
      await ingest.accept([sample('dev-refused', 1, 1), sample('dev-refused', 2, 1), out, sample('dev-refused', 4, 1)])
      await ingest.stop()
      assert.equal(ingest.stats().refused, 1)
      assert.equal(ingest.stats().buffered, 0)
      const { readings } = await store.readings.query({ device_id: 'dev-refused' })
      assert.deepEqual(
        readings.map(({ value }) => value),
        [4_000, 2_000, 1_000],
      )
    })
  })
})
