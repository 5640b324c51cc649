import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ReportFacts, startReport } from '../../../core/kernel/report.js'

const facts: ReportFacts = {
  name: 'RouteMQ',
  version: '1.0.0',
  mode: 'normal',
  routes: [],
  workers: [],
  broker: { url: 'mqtt://broker', embedded: false, protocol: '5' },
  database: 'data/routemq.db',
  devices: [{ device_id: 'pump', bus: '10.0.0.5:502' }],
  example: 'pump',
  targets: 1,
  topicPrefix: 'modbus/data',
  virtualDevice: undefined,
  http: undefined,
  moved: [],
  warnings: [],
  command: 'npx routemq',
  startMs: 1_000,
}

test('what to try next is published where the settings say', () => {
  assert.match(startReport(facts), /npx routemq sub 'modbus\/data\/pump\/#' -C 3/)
  assert.match(
    startReport({ ...facts, topicPrefix: 'site-7/values' }),
    /npx routemq sub 'site-7\/values\/pump\/#' -C 3/,
  )
})
