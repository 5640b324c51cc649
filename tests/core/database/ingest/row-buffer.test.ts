import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RowBuffer } from '../../../../core/database/ingest/row-buffer.js'
import type { ReadingWrite } from '../../../../core/database/readings/reading.js'
import { systemClock } from '../../../../core/support/clock.js'

function rows(from: number, count: number): ReadingWrite[] {
  const source = { instance: 'i', boot: 'b' }
  return Array.from({ length: count }, (_, n) => ({
    source,
    sequence: from + n,
    device_id: 'd',
    point: 'p',
    unit: null,
    time_us: 1,
    value: 1,
    quality: 'good',
    reason: null,
  }))
}

const sequences = (batch: readonly ReadingWrite[]) => batch.map(({ sequence }) => sequence)

test('rows are given out once each, in their order, what comes meanwhile after them', () => {
  const buffer = new RowBuffer({ clock: systemClock, batchRows: 2, batchMs: 50 })
  assert.deepEqual(buffer.take(8), [])
  buffer.push(rows(1, 3))
  buffer.push(rows(4, 2))
  assert.equal(buffer.length, 5)
  const first = buffer.take(8)
  buffer.push(rows(6, 1))
  assert.deepEqual(sequences(first), [1, 2, 3, 4, 5])
  assert.deepEqual(sequences(buffer.take(8)), [6])
  assert.equal(buffer.length, 0)
})

test('a batch takes as many as it may, the oldest, and leaves the rest for the next', () => {
  const buffer = new RowBuffer({ clock: systemClock, batchRows: 2, batchMs: 50 })
  buffer.push(rows(1, 11))
  assert.deepEqual(sequences(buffer.take(8)), [1, 2, 3, 4, 5, 6, 7, 8])
  assert.deepEqual([buffer.length, buffer.isFull], [3, true])
  assert.deepEqual(sequences(buffer.take(3)), [9, 10, 11])
})
