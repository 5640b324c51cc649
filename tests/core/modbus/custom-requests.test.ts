import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FieldUse } from '../../../core/delivery/field-use.js'
import { auditEntry } from '../../../core/kernel/records.js'
import type { WriteItem, WriteResult } from '../../../core/modbus/field.js'
import { type DeviceExtra, failure, openField } from './field-harness.js'

const KINDS = ['tcp', 'rtu_tcp', 'ascii_tcp', 'udp'] as const
const FRAMER = { tcp: 'SOCKET', udp: 'SOCKET', rtu_tcp: 'RTU', ascii_tcp: 'ASCII' } as const
/** Answers the bytes it got, backwards, after a byte of its own. */
const ownFunction = (data: Buffer) => Buffer.from([0xaa, ...[...data].reverse()])
const outcomes = (results: unknown) => (results as WriteResult[]).map(({ outcome }) => outcome)

async function plant(extra: DeviceExtra = {}, kind: (typeof KINDS)[number] = 'tcp', units: number[] = [1]) {
  const unit = { holding: { 10: 0x12, 11: 2, 20: 5, 21: 6 }, functions: { 65: ownFunction, 66: () => Buffer.alloc(0) } }
  const transport = kind === 'udp' ? { transport: 'udp' } : {}
  const common = { framer: FRAMER[kind], ...transport, options: { late_grace_ms: 20 }, ...extra }
  const opened = await openField(
    { kind, units: Object.fromEntries(units.map((id) => [id, unit])) },
    Object.fromEntries(units.map((id) => [`unit${id}`, common])),
  )
  const write = (...items: WriteItem[]) => opened.field.request({ op: 'write', device_id: 'unit1', items })
  return { ...opened, write }
}

for (const kind of KINDS) {
  test(`${kind}: functions 22, 23, 17, 43/14 and one of the device's own`, async () => {
    const p = await plant({}, kind)
    const { results } = await p.write(
      { address: 10, and: 0xfff0, or: 0x0005 },
      { register_type: 'holding', address: 30, values: [7, 8], read: { address: 20, count: 2 } },
      { function: 65, data: '0102ff' },
      { function: 65 },
      { function: 66 },
    )
    assert.deepEqual(
      results.map(({ outcome, values, data }) => [outcome, values, data]),
      [
        ['ok', undefined, undefined],
        ['ok', [5, 6], undefined],
        ['ok', undefined, 'aaff0201'],
        ['ok', undefined, 'aa'],
        ['ok', undefined, ''],
      ],
    )
    assert.equal(p.plant.get(1, 'holding', 10), 0x15)
    assert.deepEqual([p.plant.get(1, 'holding', 30), p.plant.get(1, 'holding', 31)], [7, 8])
    const identity = await p.field.request({ op: 'identify', device_id: 'unit1' })
    assert.deepEqual([identity.objects?.vendor, identity.server_id?.hex.slice(0, 4)], ['RouteMQ', '01ff'])
    await p.close()
  })
}

test('a function that got no answer is unknown, ends the write, and is not sent again', async () => {
  const p = await plant({ max_retries: 5 })
  for (const fault of [{ kind: 'silence' }, { kind: 'reset' }, { kind: 'wrong_function' }] as const) {
    const before = p.plant.requests
    p.plant.faults.set(1, fault)
    const error = await failure(p.write({ function: 65, data: '01' }, { function: 65, data: '02' }))
    assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN', fault.kind)
    assert.deepEqual(outcomes(error.details.results), ['unknown', 'not_sent'])
    assert.equal(p.plant.requests, before + 1)
    p.plant.faults.clear()
  }
  p.plant.faults.set(1, { kind: 'exception', code: 1, times: 1 })
  const refused = await failure(p.write({ function: 65 }))
  assert.equal(refused.code, 'MODBUS_ILLEGAL_FUNCTION')
  assert.deepEqual(outcomes(refused.details.results), ['rejected'])
  await p.close()
})

test('a function that has a request of its own is no way round the rules, nor is a form that is none', async () => {
  const p = await plant()
  for (const bad of [
    ...[1, 2, 3, 4, 5, 6, 15, 16, 22, 23].map((code) => ({ function: code, data: '000a0001' })),
    { function: 0 },
    { function: 128 },
    { function: 6.5 },
    { function: 65, data: '0' },
    { function: 65, data: 'zz' },
    { function: 65, data: '00'.repeat(253) },
  ]) {
    const error = await failure(p.write(bad))
    assert.equal(error.code, 'REQUEST_INVALID', JSON.stringify(bad))
    assert.deepEqual(outcomes(error.details.results), ['not_sent'])
  }
  assert.equal(p.plant.requests, 0)
  assert.deepEqual(new Set(p.audit.map(({ refused }) => refused)), new Set([true]))
  await p.close()
})

test('write_enabled and raw_write hold for functions, masks and exchanges, and each refusal is audited', async () => {
  const items: WriteItem[] = [
    { function: 65, data: '01' },
    { address: 10, and: 0, or: 1 },
    { register_type: 'holding', address: 30, values: [7], read: { address: 20, count: 2 } },
  ]
  for (const extra of [{ write_enabled: false }, { raw_write: 'deny' }, { raw_write: 'points' }]) {
    const p = await plant(extra)
    for (const item of items) assert.equal((await failure(p.write(item))).code, 'WRITE_DISABLED', JSON.stringify(extra))
    p.field.writes.setSystem(false)
    for (const item of items) assert.equal((await failure(p.write(item))).code, 'WRITE_DISABLED')
    assert.equal(p.plant.requests, 0)
    assert.deepEqual(
      p.audit.map(({ outcome, refused, item }) => [outcome, refused, item]),
      [...items, ...items].map((item) => ['not_sent', true, item]),
    )
    await p.close()
  }
})

test('a mask write obeys the rules of the points whose bits it changes', async () => {
  const points = [
    { name: 'run', address: 10, type: 'bit', bit: 0 },
    { name: 'mode', address: 10, type: 'bit', bit: 4, width: 2, enum: { off: 0, on: 1 } },
    { name: 'alarm', address: 10, type: 'bit', bit: 8, access: 'r' },
    { name: 'limit', address: 11, type: 'uint16', max: 100, step: 5 },
    { name: 'energy', address: 20, type: 'uint32' },
  ]
  const p = await plant({ points, raw_write: 'points' })
  const mask = (address: number, bits: number, or: number) => p.write({ address, and: ~bits & 0xffff, or })
  assert.deepEqual(outcomes((await mask(10, 0b11_0001, 0b01_0001)).results), ['ok'])
  assert.equal(p.plant.get(1, 'holding', 10), 0x13 & 0xff, 'the neighbours stay')
  for (const [code, address, bits, or] of [
    ['POINT_TORN', 10, 0b01_0000, 0b01_0000],
    ['VALUE_OUT_OF_RANGE', 10, 0b11_0000, 0b10_0000],
    ['READ_ONLY', 10, 0x100, 0x100],
    ['WRITE_DISABLED', 10, 0b0010, 0],
    ['POINT_TORN', 11, 0x00ff, 5],
    ['VALUE_OUT_OF_RANGE', 11, 0xffff, 105],
    ['VALUE_OUT_OF_RANGE', 11, 0xffff, 7],
    ['POINT_TORN', 20, 0xffff, 1],
    ['VALUE_INVALID', 10, 1, 70_000],
    ['ADDRESS_INVALID', 65_536, 1, 1],
  ] as const) {
    assert.equal((await failure(mask(address, bits, or))).code, code, `${address} ${bits} ${or}`)
  }
  const input = { register_type: 'input', address: 11, and: 0, or: 5 } as unknown as WriteItem
  assert.equal((await failure(p.write(input))).code, 'ADDRESS_INVALID', 'never a register of another type')
  assert.equal(p.plant.requests, 1)
  assert.deepEqual(outcomes((await mask(11, 0xffff, 95)).results), ['ok'])
  assert.equal(p.plant.get(1, 'holding', 11), 95)
  await p.close()
})

test('what function 23 writes obeys the rules of raw writes, and 121 registers are its limit', async () => {
  const p = await plant({ points: [{ name: 'energy', address: 20, type: 'uint32' }] })
  const exchange = (address: number, values: number[], read = { address: 0, count: 1 }, type = 'holding') =>
    failure(p.write({ register_type: type as 'holding', address, values, read }))
  assert.equal((await exchange(20, [1])).code, 'POINT_TORN')
  assert.equal(
    (
      await exchange(
        0,
        Array.from({ length: 122 }, () => 0),
      )
    ).code,
    'ADDRESS_INVALID',
  )
  assert.equal((await exchange(0, [1], { address: 0, count: 126 })).code, 'ADDRESS_INVALID')
  assert.equal((await exchange(0, [1], { address: 65_535, count: 2 })).code, 'ADDRESS_INVALID')
  assert.equal((await exchange(0, [1], { address: 0, count: 1 }, 'coil')).code, 'ADDRESS_INVALID')
  assert.equal(p.plant.requests, 0)
  await p.close()
})

test('a function of the device may have changed anything: nothing of its unit is answered from the cache after it', async () => {
  const p = await plant({}, 'tcp', [1, 2])
  const cached = async (device_id: string) => {
    const read = { op: 'read', device_id, register_type: 'holding', address: 20, count: 1, source: 'cache' } as const
    return (await p.field.request(read)).source
  }
  for (const id of ['unit1', 'unit2']) assert.deepEqual([await cached(id), await cached(id)], ['live', 'cache'])
  await p.write({ function: 65 })
  assert.deepEqual([await cached('unit1'), await cached('unit2')], ['live', 'cache'])
  await p.close()
})

test('unit 0 on RTU framing is everybody: writes go out unconfirmed, reads and exchanges are refused', async () => {
  const p = await plant({ raw_write: 'allow' }, 'rtu_tcp', [1, 2])
  const cached = (device_id: string) =>
    p.field.request({ op: 'read', device_id, register_type: 'holding', address: 20, count: 1, source: 'cache' })
  assert.equal((await cached('unit2')).values[0], 5)
  p.field.apply([...p.records, p.record('all', { framer: 'RTU', unit_id: 0 })])
  const all = (item: WriteItem) => failure(p.field.request({ op: 'write', device_id: 'all', items: [item] }))
  for (const item of [
    { register_type: 'holding', address: 20, values: [99] },
    { address: 21, and: 0, or: 98 },
    { function: 65, data: '01' },
  ] as WriteItem[]) {
    const error = await all(item)
    assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
    assert.deepEqual(outcomes(error.details.results), ['unknown'])
  }
  const exchange = await all({ register_type: 'holding', address: 20, values: [1], read: { address: 0, count: 1 } })
  assert.equal(exchange.code, 'ADDRESS_INVALID')
  // The line is silent for a while after a broadcast, then units answer; what was cached before is gone.
  for (const id of ['unit1', 'unit2']) {
    const { source, values } = await cached(id)
    assert.deepEqual([source, values], ['live', [99]])
  }
  assert.deepEqual([p.plant.get(1, 'holding', 21), p.plant.get(2, 'holding', 21)], [98, 98])
  await p.close()
})

test('a handler whose function got no answer has driven something for all anybody knows', async () => {
  const p = await plant()
  const actor = { kind: 'mqtt', name: 'devices/unit1/control' } as const
  const use = new FieldUse({
    field: p.field,
    signal: new AbortController().signal,
    deadline: () => undefined,
    actor,
    claim: undefined,
  })
  const items = [{ function: 65 }]
  await failure(use.request({ op: 'write', device_id: 'unit1', items: [{ function: 3 }] }))
  assert.equal(use.outcome, 'none')
  p.plant.faults.set(1, { kind: 'silence' })
  await failure(use.request({ op: 'write', device_id: 'unit1', items }))
  assert.equal(use.outcome, 'unknown')
  assert.deepEqual(
    p.audit.map((record) => [record.actor, record.outcome, auditEntry(record).subject, auditEntry(record).outcome]),
    [
      [actor, 'not_sent', 'function/3', 'refused'],
      [actor, 'unknown', 'function/65', 'unknown'],
    ],
  )
  await p.close()
})
