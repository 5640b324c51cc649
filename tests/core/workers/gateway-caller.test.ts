import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayCaller } from '../../../core/workers/gateway-caller.js'
import type { ToGateway } from '../../../core/workers/protocol.js'

function caller() {
  const sent: ToGateway[] = []
  return { sent, gateway: new GatewayCaller((message) => sent.push(message)) }
}

test('calls are numbered, and each gets its own answer whatever their order', async () => {
  const { sent, gateway } = caller()
  const first = gateway.call('store.unpark', ['a'])
  const second = gateway.call('store.unpark', ['b'])
  assert.deepEqual(sent, [
    { type: 'call', id: 1, method: 'store.unpark', args: ['a'] },
    { type: 'call', id: 2, method: 'store.unpark', args: ['b'] },
  ])
  gateway.answer({ type: 'answer', id: 2, ok: true, value: 'for b' })
  gateway.answer({ type: 'answer', id: 1, ok: true, value: 'for a' })
  assert.deepEqual(await Promise.all([first, second]), ['for a', 'for b'])
})

test('an error crosses with its code and details', async () => {
  const { gateway } = caller()
  const call = gateway.call('store.claim', ['k', 'h'])
  const error = { code: 'IDEMPOTENCY_KEY_REUSED', message: 'reused', details: { key: 'k' } } as const
  gateway.answer({ type: 'answer', id: 1, ok: false, error })
  await assert.rejects(call, { code: 'IDEMPOTENCY_KEY_REUSED', message: 'reused', details: { key: 'k' } })
})

test('one signal may end as many calls as a handler has, and nothing is reported as a leak', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const { sent, gateway } = caller()
  const { signal } = new AbortController()
  const calls = Array.from({ length: 20 }, () => gateway.call('field.request', [{}], signal))
  for (const { id } of sent as { id: number }[]) gateway.answer({ type: 'answer', id, ok: true, value: id })
  assert.equal((await Promise.all(calls)).length, 20)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(warnings, [])
})

test('an aborted signal asks the gateway to cancel and still waits for the outcome', async () => {
  const { sent, gateway } = caller()
  const abort = new AbortController()
  const call = gateway.call('field.request', [{}], abort.signal)
  abort.abort(new Error('too slow'))
  assert.deepEqual(sent.at(-1), { type: 'cancel', id: 1 })
  gateway.answer({ type: 'answer', id: 1, ok: true, value: 'written after all' })
  assert.equal(await call, 'written after all')
})

test('a signal that is aborted already sends nothing', async () => {
  const { sent, gateway } = caller()
  await assert.rejects(gateway.call('field.request', [{}], AbortSignal.abort(new Error('before'))), {
    message: 'before',
  })
  assert.deepEqual(sent, [])
})

test('an answer that nobody waits for is passed over', () => {
  const { gateway } = caller()
  gateway.answer({ type: 'answer', id: 7, ok: true, value: 1 })
})

test('when the gateway is gone all that wait and all that ask get WORKER_LOST', async () => {
  const { sent, gateway } = caller()
  const waiting = gateway.call('store.unpark', ['a'])
  gateway.close()
  await assert.rejects(waiting, { code: 'WORKER_LOST' })
  await assert.rejects(gateway.call('store.unpark', ['b']), { code: 'WORKER_LOST' })
  assert.equal(sent.length, 1)
})
