import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load, mistakesOf } from './support.js'

test('everything that is kept has a bound by default', (t) => {
  assert.deepEqual(load(t).config.keep, {
    readingDays: 30,
    readingBytes: 2 * 2 ** 30,
    eventDays: 365,
    auditDays: 365,
    deadLetters: 100_000,
    deadLetterBytes: 512 * 2 ** 20,
    claimHours: 24,
    spoolBytes: 2 ** 30,
    auditSpoolBytes: 512 * 2 ** 20,
    minFree: 0.1,
  })
})

test('each bound has a setting', (t) => {
  const { keep } = load(t, {
    ROUTEMQ_KEEP_READINGS_DAYS: '7',
    ROUTEMQ_KEEP_READINGS_BYTES: '512MiB',
    ROUTEMQ_KEEP_EVENTS_DAYS: '8',
    ROUTEMQ_KEEP_AUDIT_DAYS: '3650',
    ROUTEMQ_KEEP_DEAD_LETTERS: '50',
    ROUTEMQ_KEEP_DEAD_LETTERS_BYTES: '64MiB',
    ROUTEMQ_KEEP_REQUEST_IDS_HOURS: '48',
    ROUTEMQ_SPOOL_BYTES: '8GiB',
    ROUTEMQ_AUDIT_SPOOL_BYTES: '2GiB',
    ROUTEMQ_MIN_FREE_PERCENT: '5',
  }).config
  const { minFree, ...bounds } = keep
  assert.deepEqual(Object.values(bounds), [7, 512 * 2 ** 20, 8, 3_650, 50, 64 * 2 ** 20, 48, 8 * 2 ** 30, 2 * 2 ** 30])
  assert.equal(minFree, 0.05)
  const { ...wrong } = { ROUTEMQ_KEEP_READINGS_DAYS: '0', ROUTEMQ_SPOOL_BYTES: 'much' }
  assert.deepEqual(
    mistakesOf(() => load(t, wrong)).map(({ key }) => key),
    ['ROUTEMQ_KEEP_READINGS_DAYS', 'ROUTEMQ_SPOOL_BYTES'],
  )
})
