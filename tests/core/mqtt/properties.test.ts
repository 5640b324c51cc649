import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toWireProperties } from '../../../core/mqtt/properties.js'

test('an empty set of user properties is not sent: mqtt-packet would announce bytes that never come', () => {
  assert.deepEqual(toWireProperties({ contentType: 'a', userProperties: {} }), { contentType: 'a' })
  assert.deepEqual(toWireProperties({ userProperties: { a: 'b' } }), { userProperties: { a: 'b' } })
})
