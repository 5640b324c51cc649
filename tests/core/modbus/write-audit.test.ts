import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WriteAudit, WriteAuditRecord } from '../../../core/modbus/write-audit.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { failure, openField } from './field-harness.js'
import { actor, outcomes, plant, raw } from './write-plant.js'

test('a write that is refused because the product stops is audited too', async () => {
  const p = await plant()
  await p.field.stop(100)
  assert.equal((await failure(p.write(raw(10, 42)))).code, 'SHUTTING_DOWN')
  assert.deepEqual(
    p.audit.map(({ outcome, refused, error }) => [outcome, refused, error?.code]),
    [['not_sent', true, 'SHUTTING_DOWN']],
  )
  await p.plant.close()
})

test('the audit tells who, what, before, after, outcome', async () => {
  const p = await plant()
  await p.read(10)
  await p.write(raw(10, 42))
  const [record] = p.audit
  assert.deepEqual(
    { ...record, at: 0, duration_ms: 0 },
    {
      at: 0,
      device_id: 'unit1',
      bus: `${p.plant.host}:${p.plant.port}`,
      unit: 1,
      actor,
      item: raw(10, 42),
      register_type: 'holding',
      address: 10,
      before: [7],
      after: [42],
      outcome: 'ok',
      refused: false,
      error: null,
      duration_ms: 0,
    },
  )
  const unknown = await failure(p.field.request({ op: 'write', device_id: 'nobody', items: [raw(1, 1)], actor }))
  assert.equal(unknown.code, 'DEVICE_UNKNOWN')
  assert.equal(p.audit.at(-1)!.error!.code, 'DEVICE_UNKNOWN')
  await p.close()
})

test('a write of more items than it may have is one refusal, and one row of the audit', async () => {
  const p = await plant()
  const items = Array.from({ length: 1_001 }, (_, address) => raw(address, 1))
  const refused = await failure(p.field.request({ op: 'write', device_id: 'unit1', items, actor }))
  assert.deepEqual(
    [refused.code, refused.details],
    ['REQUEST_INVALID', { device_id: 'unit1', items: 1_001, max: 1_000 }],
  )
  assert.deepEqual(
    p.audit.map(({ item, refused, error }) => [item, refused, error?.code]),
    [[raw(0, 1), true, 'REQUEST_INVALID']],
  )
  assert.deepEqual(p.plant.log, [])
  await p.close()
})

test('an audit that fails does not change what happened', async () => {
  const p = await openField(
    { port: 0, units: { 1: {} } },
    { unit1: {} },
    { audit: () => Promise.reject(new Error('full')) },
  )
  const { results } = await p.field.request({ op: 'write', device_id: 'unit1', items: [raw(1, 1)], actor })
  assert.deepEqual(outcomes(results), ['ok'])
  await p.close()
})

test('an audit that never answers is waited for once, however many items there are', async () => {
  const clock = new FakeClock()
  const asked: WriteAuditRecord[] = []
  const audit = (record: WriteAuditRecord) => {
    asked.push(record)
    return new Promise<void>(() => {})
  }
  const p = await plant({}, {}, { clock, audit })
  for (const write of [
    () => p.write({ point: 'none', value: 1 }, raw(1, 1), raw(2, 2)),
    () => p.field.request({ op: 'write', device_id: 'nobody', items: [raw(1, 1), raw(2, 2), raw(3, 3)], actor }),
  ]) {
    asked.length = 0
    const ended = failure(write())
    await clock.advance(0)
    assert.equal(asked.length, 3)
    await clock.advance(5_000)
    await ended
  }
  await p.close()
})

test('a write is noted before it is on the wire, and ended when its records are kept', async () => {
  const told: string[] = []
  const ids: (string | undefined)[] = []
  let wire = () => 0
  const audit: WriteAudit = Object.assign(
    async (record: WriteAuditRecord) => {
      told.push(`kept ${record.outcome}`)
      ids.push(record.id)
    },
    {
      begin: async (records: readonly WriteAuditRecord[]) => {
        told.push(`begun ${records.map(({ after, outcome }) => `${after} ${outcome}`)}, ${wire()} on the wire`)
        ids.push(...records.map(({ id }) => id))
        return () => void told.push('ended')
      },
    },
  )
  const p = await plant({}, {}, { audit })
  wire = () => p.wire().length
  await p.write(raw(10, 42), raw(20, 43))
  assert.deepEqual(told, ['begun 42 unknown,43 unknown, 0 on the wire', 'kept ok', 'kept ok', 'ended'])
  assert.equal(wire(), 2)
  assert.deepEqual(ids.slice(2), ids.slice(0, 2))
  assert.equal(new Set(ids).size, 2)
  told.length = 0
  await failure(p.write({ point: 'none', value: 1 }))
  assert.deepEqual(told, ['kept not_sent'], 'nothing is about to go out')
  await p.close()
})

test('a write whose record is not kept stays noted', async () => {
  let isEnded = false
  const audit: WriteAudit = Object.assign(() => Promise.reject(new Error('full')), {
    begin: async () => () => {
      isEnded = true
    },
  })
  const p = await plant({}, {}, { audit })
  await p.write(raw(10, 42))
  assert.equal(isEnded, false)
  await p.close()
})
