import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { bench, closedGate, strayLetter, until } from './harness.js'

test('drain waits for what runs; stop acknowledges nothing afterwards', async () => {
  const gate = closedGate()
  const { send, engine, settled } = bench((router) => router.on('a', () => gate.opened))
  void send('a', 1)
  const late = engine.drain(20)
  await late
  assert.deepEqual(settled, [])
  const drained = engine.drain(5_000)
  gate.open()
  await drained
  assert.deepEqual(settled, ['a'])
  const later = closedGate()
  const second = bench((router) => router.on('a', () => later.opened))
  void second.send('a', 1)
  await second.engine.stop()
  await assert.rejects(second.engine.run(strayLetter()), { code: 'SHUTTING_DOWN' })
  later.open()
  await pause(20)
  assert.deepEqual(second.settled, [])
})

test('drain ends when the last that was held is parked between two attempts', async () => {
  const { engine, send } = bench((router) =>
    router.on(
      'jobs',
      async () => {
        throw new Error('not now')
      },
      { name: 'jobs', attempts: 3, backoff: { first: 60_000, max: 60_000 } },
    ),
  )
  void send('jobs', {})
  const outcome = await Promise.race([
    engine.drain(60_000).then(() => 'drained'),
    pause(10_000, 'waited', { ref: false }),
  ])
  assert.equal(outcome, 'drained')
  await engine.stop()
})

test('drain waits for the work that was given to terminate', async () => {
  const work = closedGate()
  let began = false
  const { send, engine } = bench((router) =>
    router.on('a', (ctx) =>
      ctx.terminate(() => {
        began = true
        return work.opened
      }),
    ),
  )
  await send('a', 1)
  await until('it runs', () => began)
  let drained = false
  const draining = engine.drain(60_000).then(() => {
    drained = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(drained, false)
  work.open()
  await draining
})
