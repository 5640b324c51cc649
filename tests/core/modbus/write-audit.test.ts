import assert from 'node:assert/strict'
import { test } from 'node:test'
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
