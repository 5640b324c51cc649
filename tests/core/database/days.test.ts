import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dayBoundaries } from '../../../core/database/readings/days.js'
import { isoToMicros, microsToIso } from '../../../core/database/values.js'

const at = (iso: string) => isoToMicros(iso)!
const days = (from: string, to: string, tz: string) => dayBoundaries(at(from), at(to), tz).map(microsToIso)

test('the first and last day are cut to the range', () => {
  assert.deepEqual(days('2026-01-01T12:00:00Z', '2026-01-03T06:00:00Z', 'UTC'), [
    '2026-01-01T12:00:00.000000Z',
    '2026-01-02T00:00:00.000000Z',
    '2026-01-03T00:00:00.000000Z',
    '2026-01-03T06:00:00.000000Z',
  ])
  assert.deepEqual(days('2026-01-01T12:00:00Z', '2026-01-01T12:00:00Z', 'UTC'), [])
  assert.equal(days('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z', 'UTC').length, 2)
})

test('zones far from UTC, with odd offsets, and with changes at midnight', () => {
  // Kiritimati is UTC+14, Chatham +13:45 with daylight saving; in Beirut the clock skips midnight in spring; Samoa
  // skipped the whole of 30 December 2011.
  assert.deepEqual(days('2026-01-01T10:00:00Z', '2026-01-02T10:00:00Z', 'Pacific/Kiritimati').length, 2)
  assert.equal(
    days('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z', 'Pacific/Chatham')[1],
    '2026-01-01T10:15:00.000000Z',
  )
  const beirut = days('2024-03-29T22:00:00Z', '2024-04-01T21:00:00Z', 'Asia/Beirut')
  assert.deepEqual(beirut.slice(1, 3), ['2024-03-30T22:00:00.000000Z', '2024-03-31T21:00:00.000000Z'])
  const samoa = days('2011-12-29T12:00:00Z', '2012-01-01T09:00:00Z', 'Pacific/Apia')
  assert.deepEqual(samoa.slice(1, 3), ['2011-12-30T10:00:00.000000Z', '2011-12-31T10:00:00.000000Z'])
})

test('every day of a year in many zones begins at its local midnight, and none is missing', () => {
  for (const tz of ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'America/St_Johns']) {
    const bounds = dayBoundaries(at('2025-12-31T12:00:00Z'), at('2026-12-31T12:00:00Z'), tz)
    assert.equal(bounds.length, 367, tz)
    const format = new Intl.DateTimeFormat('en-GB', { timeZone: tz, timeStyle: 'medium' })
    for (const bound of bounds.slice(1, -1))
      assert.equal(format.format(bound / 1e3), '00:00:00', `${tz} ${microsToIso(bound)}`)
  }
})

test('a day is one look at the calendar, not a search: only where the clock changes is it searched', (context) => {
  const looks = context.mock.method(Intl.DateTimeFormat.prototype, 'formatToParts')
  const bounds = dayBoundaries(at('2026-01-01T00:00:00Z'), at('2027-01-01T00:00:00Z'), 'Europe/Paris')
  assert.equal(bounds.length, 367)
  // Two changes a year, each beside two midnights, of about 27 looks.
  assert.ok(looks.mock.callCount() < 500, `${looks.mock.callCount()} looks`)
})

test('times keep their microseconds both ways', () => {
  for (const iso of ['2026-03-29T01:00:00.000001Z', '1999-12-31T23:59:59.999999Z', '2026-01-01T00:00:00.000000Z']) {
    assert.equal(microsToIso(at(iso)), iso)
  }
  assert.equal(at('2026-03-29T03:00:00.5+02:00'), at('2026-03-29T01:00:00.5Z'))
  assert.equal(at('2026-03-29 01:00:00.1234567Z'), at('2026-03-29T01:00:00.123456Z'))
  for (const wrong of ['2026-03-29', '2026-03-29T01:00:00', '2026-13-29T01:00:00Z', 'now', '']) {
    assert.equal(isoToMicros(wrong), undefined)
  }
})
