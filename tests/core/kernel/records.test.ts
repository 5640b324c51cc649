import assert from 'node:assert/strict'
import { test } from 'node:test'
import { auditEntry, named } from '../../../core/kernel/records.js'
import type { WriteAuditRecord } from '../../../core/modbus/write-audit.js'

const record: WriteAuditRecord = {
  at: 0,
  device_id: 'boiler',
  bus: '10.0.0.5:502',
  unit: 1,
  actor: { kind: 'mqtt', name: 'devices/boiler/write', request_id: 'a\u0000' },
  item: { point: 'mode', value: 'warm' },
  register_type: null,
  address: null,
  before: null,
  after: null,
  outcome: 'not_sent',
  refused: true,
  error: null,
  duration_ms: 0,
}

test('what a stranger sent is kept as far as anybody can read it', () => {
  const long = 'x'.repeat(500_000)
  const entry = named(
    auditEntry({
      ...record,
      device_id: long,
      item: { point: `a\u0000${long}`, value: long },
      error: { code: 'VALUE_INVALID', message: long, details: { value: long, [long]: 1 } },
    }),
  )
  assert.ok(JSON.stringify(entry).length < 30_000, `${JSON.stringify(entry).length} characters`)
  assert.equal(entry.after, `${'x'.repeat(4_000)}…`)
  assert.match(entry.subject!, /^a\ufffdxxx/)
  assert.equal(entry.details!.request_id, 'a\ufffd')
})

test('a write of as many coils as one request holds is kept whole', () => {
  const after = Array.from({ length: 1_968 }, (_, at) => at % 2 === 0)
  assert.deepEqual(named(auditEntry({ ...record, after })).after, after)
})
