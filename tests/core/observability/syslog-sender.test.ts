import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openSender, rememberingLookup } from '../../../core/observability/syslog-sender.js'
import { systemClock } from '../../../core/support/clock.js'

test('datagrams that nobody takes off our hands are bounded, and what is beyond is counted', async () => {
  const sender = openSender('udp://127.0.0.1:9')
  for (let count = 0; count < 1_200; count += 1) sender.send('m')
  assert.equal(sender.lost, 200)
  await sender.close()
})

test('the address of the server is asked for once a minute, and again where there was no answer', async () => {
  let now = 0
  let asked = 0
  let fails = true
  const lookup = rememberingLookup('logs', { ...systemClock, now: () => now }, (_name, _options, done) => {
    asked += 1
    setImmediate(() => (fails ? done(new Error('no such name'), '', 0) : done(null, '10.0.0.9', 4)))
  })
  const find = () => new Promise<string>((resolve) => lookup('logs', {}, (error, at) => resolve(error?.message ?? at)))
  assert.deepEqual([await Promise.all([find(), find()]), asked], [['no such name', 'no such name'], 1])
  fails = false
  assert.deepEqual([await Promise.all([find(), find()]), asked], [['10.0.0.9', '10.0.0.9'], 2])
  now = 59_999
  assert.deepEqual([await find(), asked], ['10.0.0.9', 2])
  now = 60_000
  assert.deepEqual([await find(), asked], ['10.0.0.9', 3])
})
