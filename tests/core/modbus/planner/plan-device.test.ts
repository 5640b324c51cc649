import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DeviceExtra, failure, openField } from '../field-harness.js'

const HOLDING = Array.from({ length: 200 }, (_, address) => address)

/** What one reading of points asks the device for: address and count of each request. */
async function plant(extra: DeviceExtra) {
  const opened = await openField({ units: { 1: { holding: HOLDING, maxRead: 8 } } }, { unit1: extra })
  const read = (...points: string[]) => opened.field.request({ op: 'read_points', device_id: 'unit1', points })
  const plan = (...ranges: [address: number, count: number][]) =>
    opened.field.polling
      .plan(
        'unit1',
        ranges.map(([address, count]) => ({ device_id: 'unit1', register_type: 'holding', address, count })),
        1_000,
      )
      .map(({ address, count }) => [address, count])
  return { ...opened, read, plan }
}

test('a gap is read over, but never over what is forbidden, or may only be written', async () => {
  const free = await plant({})
  assert.deepEqual(free.plan([0, 2], [4, 2]), [[0, 6]])
  await free.close()
  const guarded = await plant({
    options: { forbidden: [{ register_type: 'holding', from: 3, to: 3 }] },
    points: [{ name: 'reset', address: 12, access: 'w' }],
  })
  assert.deepEqual(guarded.plan([0, 2], [4, 2], [10, 2], [13, 2]), [
    [0, 2],
    [4, 8],
    [13, 2],
  ])
  assert.deepEqual(guarded.plan([3, 1]), [[3, 1]], 'who names it may read it')
  await guarded.close()
})

test('the limits of the device hold, and a range beyond them is refused unless it may be torn', async () => {
  const whole = await plant({ options: { max_registers: 8 } })
  assert.deepEqual(whole.plan([0, 6], [6, 6]), [
    [0, 6],
    [6, 6],
  ])
  assert.throws(() => whole.plan([0, 9]), { code: 'ADDRESS_INVALID' })
  await whole.close()
  const torn = await plant({ options: { max_registers: 8, allow_tearing: true } })
  assert.deepEqual(torn.plan([0, 19]), [
    [0, 8],
    [8, 8],
    [16, 3],
  ])
  await torn.close()
})

test('a point longer than one request is refused whole, or put together again where the device allows tearing', async () => {
  const points = [
    { name: 'before', address: 19 },
    { name: 'long', address: 20, type: 'raw', length: 10 },
    { name: 'after', address: 30 },
  ]
  const whole = await plant({ points, options: { max_registers: 8 } })
  assert.equal((await failure(whole.read('long'))).code, 'ADDRESS_INVALID')
  await whole.close()
  const torn = await plant({ points, options: { max_registers: 8, allow_tearing: true } })
  const { points: readings } = await torn.read('after', 'long', 'before')
  const hex = Array.from({ length: 10 }, (_, at) => (20 + at).toString(16).padStart(4, '0')).join('')
  assert.deepEqual(
    readings.map(({ point, value, quality }) => [point, value, quality]),
    [
      ['after', 30, 'good'],
      ['long', hex, 'good'],
      ['before', 19, 'good'],
    ],
  )
  let answers = 0
  torn.plant.faults.choose(() => ({ kind: 'delay', ms: 20 * answers++ }))
  const [, long] = (await torn.read('after', 'long', 'before')).points
  const parts = torn.field.cache.entries('unit1').filter(({ address }) => address >= 20 && address < 30)
  const oldest = Math.min(...parts.map(({ cached_at }) => Date.parse(cached_at)))
  assert.equal(Math.floor(long!.timestamp * 1_000), oldest, 'as old as its oldest part')
  // One of its requests is refused: no half of a value.
  let asked = 0
  torn.plant.faults.choose(() => {
    asked += 1
    return asked === 1 ? { kind: 'exception', code: 4 } : undefined
  })
  const part = (await torn.read('long', 'after')).points.map(({ value, quality, reason }) => [value, quality, reason])
  assert.deepEqual(part[0], [null, 'bad', 'DEVICE_FAILURE'])
  await torn.close()
})
