import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import type { SidecarServices } from '../../../core/http/services.js'
import { audited } from '../../../core/kernel/audited.js'
import type { Actor } from '../../../core/modbus/field.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { plant } from '../http/fake-services.js'

const actor: Actor = { kind: 'http', name: 'key:a', request_id: 'r-1' }
const record = {
  prefix: '0123456789ab',
  hash: 'digest-of-the-key',
  name: 'scada',
  scope: 'read' as const,
  created_at: '2026-01-01T00:00:00.000Z',
  expires_at: null,
  revoked_at: null,
}

function services(fail?: Error): SidecarServices {
  const done = async () => {
    if (fail !== undefined) throw fail
  }
  const views = async () => {
    await done()
    return []
  }
  const kept = plant()
  return {
    ...kept,
    devices: { ...kept.devices, reload: async () => [...(await views()), 'meter-1'] },
    workers: { list: () => [], restart: views, scale: views },
    dead: { list: async () => [], show: async () => assert.fail(), retry: done, forget: done },
    keys: { any: () => true, find: () => undefined, list: async () => [], add: done, revoke: done },
  }
}

async function changeAll(all: SidecarServices): Promise<void> {
  assert.deepEqual(await all.devices.reload(actor), ['meter-1'])
  await all.cache.clear(actor)
  await all.metrics.reset(actor)
  await all.workers!.restart(undefined, actor)
  await all.workers!.restart('slot-1', actor)
  await all.workers!.scale(3, actor)
  await all.dead!.retry('d1', { force: true }, actor)
  await all.dead!.forget('d1', actor)
  await all.keys!.add(record, actor)
  await all.keys!.revoke(record.prefix, actor)
}

test('every change beside those of single devices and targets is audited with who asked; nothing of a key but its name', async () => {
  const entries: AuditInput[] = []
  const all = audited(services(), async (entry) => void entries.push(entry))
  await changeAll(all)
  assert.deepEqual(
    entries.map(({ action, subject, outcome }) => [action, subject, outcome]),
    [
      ['device.reload', 'all', 'ok'],
      ['cache.clear', undefined, 'ok'],
      ['metrics.reset', undefined, 'ok'],
      ['worker.restart', 'all', 'ok'],
      ['worker.restart', 'slot-1', 'ok'],
      ['worker.scale', undefined, 'ok'],
      ['dead.retry', 'd1', 'ok'],
      ['dead.forget', 'd1', 'ok'],
      ['key.create', '0123456789ab', 'ok'],
      ['key.revoke', '0123456789ab', 'ok'],
    ],
  )
  for (const entry of entries) assert.equal(entry.actor, actor)
  assert.deepEqual([entries[5]!.after, entries[6]!.details], [{ slots: 3 }, { force: true }])
  assert.deepEqual(entries[8]!.after, { name: 'scada', scope: 'read', expires_at: null })
  assert.ok(!JSON.stringify(entries).includes(record.hash))
})

test('a change that failed is audited with its code, and fails as before', async () => {
  const entries: AuditInput[] = []
  const failure = new RouteMQError('WORKER_UNKNOWN', 'there is none')
  const all = audited(services(failure), async (entry) => void entries.push(entry))
  await assert.rejects(all.workers!.restart('slot-9', actor), failure)
  assert.deepEqual(
    entries.map(({ action, subject, outcome, code }) => [action, subject, outcome, code]),
    [['worker.restart', 'slot-9', 'rejected', 'WORKER_UNKNOWN']],
  )
})

test('a change whose audit cannot be kept is not answered as done', async () => {
  const all = audited(services(), async () => {
    throw new RouteMQError('SPOOL_FULL', 'the audit cannot be kept')
  })
  await assert.rejects(Promise.resolve(all.cache.clear(actor)), { code: 'SPOOL_FULL' })
})
