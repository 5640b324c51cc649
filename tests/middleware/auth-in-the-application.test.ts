import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startTestApp } from 'routemq/testing'

test('the default application takes commands with one of ROUTEMQ_API_KEYS only, twice in one process', async () => {
  for (const key of ['first-key', 'second-key']) {
    const app = await startTestApp({ root: join(import.meta.dirname, '../..'), env: { ROUTEMQ_API_KEYS: key } })
    try {
      const written = await app.command('devices/office-eng/write', { address: 10, value: 42, api_key: key })
      assert.deepEqual(written, {
        device_id: 'office-eng',
        status: 'ok',
        address: 10,
        value: 42,
        register_type: 'holding',
      })
      for (const api_key of ['wrong', undefined]) {
        const command = app.command('devices/office-eng/write', { address: 10, value: 7, api_key })
        await assert.rejects(command, { code: 'UNAUTHENTICATED' })
      }
    } finally {
      await app.stop()
    }
  }
})
