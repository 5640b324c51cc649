import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { sql } from 'kysely'
import { dump } from '../../../../core/database/backup/dump.js'
import { readBackup } from '../../../../core/database/backup/file.js'
import type { BackupLine } from '../../../../core/database/backup/lines.js'
import { load } from '../../../../core/database/backup/load.js'
import type { Store } from '../../../../core/database/store.js'
import { until } from '../../support/until.js'
import { onEachDatabase, openStore } from '../databases.js'
import { ownStore } from '../own-store.js'
import { AT, letter, linesOf, originalBackup, reading, these } from './original-backup.js'

const { file } = await originalBackup()

onEachDatabase((kind) => {
  describe(`a backup on ${kind}`, () => {
    let store: Store
    let elsewhere: Store
    before(async () => {
      const opened = await ownStore(kind)
      store = opened.store
      elsewhere = await openStore(opened.config)
      await load({ store, lines: readBackup(file) })
    })
    after(() => elsewhere.close())

    test('rows of megabytes make lines and statements of about one', async () => {
      const lines: BackupLine[] = []
      for await (const line of dump({ store, now: () => AT })) lines.push(line)
      const small = lines.length
      const payload = 'x'.repeat(400_000)
      for (let n = 0; n < 10; n++) {
        await store.events.append([{ kind: 'large', message: `${n}`, at: AT + n, details: { payload } }])
      }
      lines.length = 0
      for await (const line of dump({ store, now: () => AT })) lines.push(line)
      assert.ok(lines.length >= small + 4, `${lines.length} lines, ${small} before`)
      for (const line of lines) assert.ok(JSON.stringify(line).length < 1_300_000)
      await load({ store, lines: these(lines.slice(1)) })
      const kept = (await store.events.list({ kind: 'large' })).map(({ message, details }) => [
        message,
        String(details.payload).length,
      ])
      assert.deepEqual(
        kept,
        Array.from({ length: 10 }, (_, n) => [`${9 - n}`, 400_000]),
      )
    })

    test('pages of large rows are bounded by their bytes', async () => {
      const payload = 'QUJD'.repeat(100_000)
      for (let n = 0; n < 20; n++) {
        const error = { code: 'INTERNAL', message: 'x' } as const
        await store.deadLetters.put({ ...letter, payload, error, attempts: 1, failedAt: AT + n }, `large-${n}`)
      }
      const most = await largestResult(store, async () => {
        const lines = await linesOf(dump({ store, now: () => AT }))
        const ids = lines.flatMap((line) => ('table' in line ? line.rows : [])).map(({ id }) => String(id))
        assert.equal(ids.filter((id) => id.startsWith('large-')).length, 20)
      })
      assert.ok(most < 1_500_000, `${most} bytes in one result`)
      await sql`delete from routemq_dead_letters where id like 'large-%'`.execute(store.kysely)
    })

    test('rows that arrive meanwhile are in it by whole batches, up to one moment', async () => {
      const batch = 500
      let stop = false
      let written = 0
      const writing = (async () => {
        for (; !stop; written++) {
          await elsewhere.readings.insertBatch(
            Array.from({ length: batch }, (_, n) =>
              reading(written * batch + n + 1, { device_id: `w${n % 10}`, point: `q${n % 50}`, time_us: written + 1 }),
            ),
          )
        }
      })()
      await until(() => written >= 3)
      const seen = new Map<number, number>()
      let before = 0
      for await (const line of dump({ store, now: () => AT })) {
        // While it is under way others go on: wait for a batch at each of the first lines.
        if ('readings' in line && before++ < 5) {
          const then = written
          await until(() => written > then)
        }
        if (!('readings' in line && line.series.device_id.startsWith('w'))) continue
        for (const [time] of line.readings) seen.set(time, (seen.get(time) ?? 0) + 1)
      }
      stop = true
      await writing
      assert.ok(seen.size >= 3 && seen.size < written, `${seen.size} of ${written} batches`)
      assert.deepEqual([...new Set(seen.values())], [batch], 'no batch is torn')
      assert.deepEqual(
        [...seen.keys()].sort((a, b) => a - b),
        Array.from({ length: seen.size }, (_, n) => n + 1),
      )
    })
  })
})

/** Characters of the largest result that the work makes the database give. */
async function largestResult(store: Store, work: () => Promise<void>): Promise<number> {
  let most = 0
  const executor = store.kysely.getExecutor()
  const connection = executor.provideConnection.bind(executor)
  executor.provideConnection = (consumer) =>
    connection((real) =>
      consumer({
        executeQuery: async (...query) => {
          const result = await real.executeQuery<Record<string, unknown>>(...query)
          most = Math.max(most, JSON.stringify(result.rows).length)
          return result as never
        },
        streamQuery: (...query) => real.streamQuery(...query),
      }),
    )
  try {
    await work()
  } finally {
    executor.provideConnection = connection
  }
  return most
}
