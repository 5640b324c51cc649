import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Availability } from '../../../core/poller/availability.js'
import { scriptedField } from '../modbus/scripted-field.js'

test('what the field knows of a device is told when the poller starts, and when the device is added', async () => {
  const { field, clock, settled } = scriptedField({ unit1: {}, unit2: {}, unit3: {} })
  const told: unknown[] = []
  const availability = new Availability({
    field: field.polling,
    clock,
    topicPrefix: 'p',
    publish: ({ topic, payload }) => void told.push([topic, payload]),
    speaks: () => true,
  })
  for (const device_id of ['unit1', 'unit2']) {
    await settled({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 })
  }
  availability.apply(['unit1', 'unit3'])
  availability.start()
  assert.deepEqual(told, [['p/unit1/availability', 'online']], 'nothing of one that nobody asked yet')
  availability.apply(['unit1', 'unit2', 'unit3'])
  assert.deepEqual(told.slice(1), [['p/unit2/availability', 'online']])
  availability.stop()
  await field.stop(0)
})
