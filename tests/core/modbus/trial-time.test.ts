import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TrialTime } from '../../../core/modbus/trial-time.js'
import { scriptedField } from './scripted-field.js'

const DEAD = { timeout: 10, max_retries: 5 }

/** Asks for the units in turn, again and again, each second for `seconds`. */
async function askFor(field: ReturnType<typeof scriptedField>, units: readonly number[], seconds: number) {
  const { clock, settled } = field
  const end = clock.monotonic() + seconds * 1_000
  const codes: (string | undefined)[] = []
  for (let turn = 0; clock.monotonic() < end; turn += 1) {
    const device_id = `unit${units[turn % units.length]}`
    const { error } = await settled({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 })
    codes.push(error?.code)
    if (error?.code !== 'DEVICE_TIMEOUT') await clock.advance(1_000)
  }
  return codes
}

const askOnce = ({ settled }: ReturnType<typeof scriptedField>) =>
  settled({ op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 })

for (const units of [[1], [1, 2, 3]]) {
  test(`callers who ask for ${units.length} dead devices without end cost their bus at most 5 % of its time`, async () => {
    const p = scriptedField({ unit1: DEAD, unit2: DEAD, unit3: DEAD })
    for (const unit of units) p.silent.add(unit)
    // Until all breakers are open: one whole time-out each, the others as long as a poll.
    const codes = await askFor(p, units, 120)
    assert.ok(codes.includes('BREAKER_OPEN'))
    assert.deepEqual(
      p.asked
        .filter(({ unit }) => unit === 1)
        .slice(0, 5)
        .map(({ timeoutMs }) => timeoutMs),
      [10_000, 1_000, 1_000, 1_000, 1_000],
    )
    const [from, seen] = [p.clock.monotonic(), p.asked.length]
    await askFor(p, units, 3_600)
    const waited = p.asked.slice(seen).reduce((sum, { timeoutMs }) => sum + timeoutMs, 0)
    const share = waited / (p.clock.monotonic() - from)
    assert.ok(share > 0.01 && share <= 0.055, `${(share * 100).toFixed(1)} %`)
    p.silent.clear()
    const after = await askFor(p, units, 300)
    assert.deepEqual(after.slice(-3), [undefined, undefined, undefined], 'each is found again')
    await p.field.stop(0)
  })
}

test('a slow device is given the time it was seen to take, and found again after it was away', async () => {
  const p = scriptedField({ unit1: DEAD })
  p.slowMs.set(1, 3_000)
  assert.deepEqual(await askFor(p, [1], 4), [undefined])
  p.silent.add(1)
  await askFor(p, [1], 300)
  assert.ok(p.asked.some(({ timeoutMs }) => timeoutMs === 6_000))
  p.silent.clear()
  assert.equal((await askFor(p, [1], 300)).at(-1), undefined)
  await p.field.stop(0)
})

test('a device nobody knew to be slow is found with the whole time-out, each sixteenth trial', () => {
  const time = new TrialTime()
  const trials = Array.from({ length: 32 }, () => {
    const ms = time.next(10_000, 1_000)
    time.began()
    return ms
  })
  assert.deepEqual(
    trials.flatMap((ms, at) => (ms === 10_000 ? [at + 1] : [])),
    [16, 32],
  )
  time.answered(3_000)
  assert.equal(time.next(10_000, 1_000), 6_000)
  time.answered(100)
  assert.equal(time.next(10_000, 1_000), 5_700, 'forgotten little by little')
})

test('a write is cut short only where a breaker is open and one knows how long the unit takes', async () => {
  const p = scriptedField({ unit1: { timeout: 10, max_retries: 0 }, unit2: {} })
  const items = [{ register_type: 'holding', address: 0, values: [1] }] as const
  const write = () => p.settled({ op: 'write', device_id: 'unit1', items, actor: { kind: 'app', name: 'test' } })
  const waited = () => p.asked.map(({ timeoutMs }) => timeoutMs)
  p.silent.add(1)
  for (let nth = 0; nth < 5; nth += 1) await write()
  await p.clock.advance(30_000)
  await write()
  assert.deepEqual(waited(), Array(6).fill(10_000))
  p.silent.clear()
  p.slowMs.set(1, 2_000)
  await p.clock.advance(200_000)
  assert.equal((await write()).error, undefined)
  p.silent.add(1)
  p.asked.length = 0
  for (let nth = 0; nth < 5; nth += 1) await write()
  await p.clock.advance(30_000)
  await write()
  assert.deepEqual(waited(), [...Array(5).fill(10_000), 4_000])
  await p.field.stop(0)
})

test('a bus that was away makes no unit look slow or dead: its first answer is waited for as long as the record says', async () => {
  for (const failures of [2, 5]) {
    const p = scriptedField({ unit1: { ...DEAD, max_retries: 0 }, unit2: DEAD })
    p.slowMs.set(1, 3_000)
    p.away.isAway = true
    for (let nth = 0; nth < failures; nth += 1) {
      assert.equal((await askOnce(p)).error?.code, 'DEVICE_UNREACHABLE')
    }
    p.away.isAway = false
    await p.clock.advance(30_000)
    assert.deepEqual((await askOnce(p)).answer?.values, [1], `after ${failures}`)
    await p.field.stop(0)
  }
})

test('a slow device that never answered its polls is read all the same; a dead one is waited for once', async () => {
  for (const [takesMs, waited] of [
    [3_000, [10_000, 10_000]],
    [Number.POSITIVE_INFINITY, [10_000, 1_000]],
  ] as const) {
    const p = scriptedField({ unit1: { ...DEAD, max_retries: 0 }, unit2: {} })
    if (takesMs === 3_000) p.slowMs.set(1, takesMs)
    else p.silent.add(1)
    const block = { device_id: 'unit1', register_type: 'holding', address: 0, count: 1 } as const
    for (let nth = 0; nth < 2; nth += 1) {
      const dueAt = p.clock.monotonic()
      p.field.polling
        .poll({ block: { ...block, wanted: [0] }, wanted: [block], dueAt, intervalMs: 2_000 })
        .catch(() => {})
      await p.clock.advance(2_000)
    }
    assert.equal(p.field.devices()[0]!.quarantined, true)
    p.asked.length = 0
    const ends = [await askOnce(p), await askOnce(p)].map(({ error }) => error?.code)
    assert.deepEqual(
      p.asked.map(({ timeoutMs }) => timeoutMs),
      waited,
    )
    assert.deepEqual(new Set(ends), new Set([takesMs === 3_000 ? undefined : 'DEVICE_TIMEOUT']))
    await p.field.stop(0)
  }
})

test('a device alone on its bus holds up nobody: it is tried each time its breaker lets one through', async () => {
  const p = scriptedField({ unit1: DEAD })
  p.silent.add(1)
  await askFor(p, [1], 60)
  const seen = p.asked.length
  await askFor(p, [1], 310)
  assert.ok(p.asked.length - seen >= 9, `${p.asked.length - seen} tries`)
  await p.field.stop(0)
})
