import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checksOf } from '../../../core/kernel/crew.js'

test('who asks without a credential learns which worker is not ready, not why', () => {
  const checks = checksOf([
    { name: 'slot-1', state: 'ready' },
    { name: 'slot-2', state: 'waiting', reason: 'ROUTER_INVALID: /srv/plant/routers/main.ts (exit code 1)' },
  ])
  assert.deepEqual(checks, { 'slot-1': 'ok', 'slot-2': 'waiting' })
})
