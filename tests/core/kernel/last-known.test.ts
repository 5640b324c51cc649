import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { LastKnown } from '../../../core/kernel/last-known.js'
import { ReadCache } from '../../../core/modbus/cache.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'

const block = (device_id: string, address: number) =>
  ({ device_id, register_type: 'holding', address, count: 2 }) as const

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-known-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function life(file: string, spaces: Readonly<Record<string, string>>) {
  const clock = new FakeClock()
  const cache = new ReadCache({ ttlMs: 1_000_000, clock })
  const spaceOf = (id: string) => spaces[id]
  return { cache, clock, known: new LastKnown({ file, cache, spaceOf, logger: silentLogger, clock, everyMs: 1_000 }) }
}

test('what was last read is known after a restart, as stale and with its time', async (t) => {
  const file = join(folder(t), 'known.json')
  const first = life(file, {})
  await first.known.start()
  first.cache.open(block('a', 0), 'bus#1').fill([1, 2], 100.5)
  first.cache.open(block('b', 0), 'bus#2').fill([3, 4], 101)
  first.cache.open(block('gone', 0), 'bus#3').fill([5, 6], 102)
  await first.known.stop()

  const second = life(file, { a: 'bus#1', b: 'bus#9' })
  await second.known.start()
  const { values, timestamp, quality } = second.cache.lastKnown(block('a', 0))!
  assert.deepEqual([values, timestamp, quality], [[1, 2], 100.5, 'stale'])
  assert.equal(second.cache.find(block('a', 0)), undefined, 'never as fresh, whatever the TTL')
  assert.equal(second.cache.lastKnown(block('b', 0)), undefined, 'the device is another unit now')
  assert.equal(second.cache.lastKnown(block('gone', 0)), undefined)
  await second.known.stop()
})

test('a value that a write made untrue does not come back with a restart', async (t) => {
  const file = join(folder(t), 'known.json')
  const first = life(file, { a: 'bus#1' })
  await first.known.start()
  first.cache.open(block('a', 0), 'bus#1').fill([1, 2], 100)
  await first.known.stop()

  const second = life(file, { a: 'bus#1' })
  await second.known.start()
  assert.notEqual(second.cache.lastKnown(block('a', 0)), undefined)
  second.cache.drop((space) => space === 'bus#1', block('a', 1))
  await second.known.stop()

  const third = life(file, { a: 'bus#1' })
  await third.known.start()
  assert.equal(third.cache.lastKnown(block('a', 0)), undefined)
  await third.known.stop()
})

test('it is written now and then, so that a killed process loses little', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'known.json')
  const { cache, clock, known } = life(file, {})
  await known.start()
  clock.advance(1_000)
  cache.open(block('a', 0), 'bus#1').fill([1, 2], 100)
  for (let tries = 0; tries < 2_000 && !readdirSync(dir).includes('known.json'); tries += 1) {
    clock.advance(1_000)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const written = readFileSync(file, 'utf8')
  await known.stop()
  assert.match(written, /"device_id":"a"/)
  assert.deepEqual(readdirSync(dir), ['known.json'])
})

test('a file that is none, or cannot be written, stops nothing', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'known.json')
  for (const text of ['', '{"a":1}', '[null, 1, {"device_id":"a"}]', '[{"device_id":']) {
    writeFileSync(file, text)
    const { cache, known } = life(file, { a: 'bus#1' })
    await known.start()
    assert.deepEqual(cache.entries(), [])
    await known.stop()
  }
  const cache = new ReadCache({ ttlMs: 1, clock: systemClock })
  const nowhere = join(dir, 'no/such/folder/known.json')
  const known = new LastKnown({ file: nowhere, cache, spaceOf: () => 'x', logger: silentLogger, clock: systemClock })
  await known.start()
  cache.open(block('a', 0), 'x').fill([1, 2], 1)
  await known.stop()
})
