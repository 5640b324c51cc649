import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withoutSourceMaps } from '../../../core/config/typescript-loader.js'

const areOn = () => (process as { sourceMapsEnabled?: boolean }).sourceMapsEnabled

test('source maps are off while the framework loads, and on again after it, also where that fails', async (t) => {
  const before = areOn() === true
  t.after(() => process.setSourceMapsEnabled(before))
  process.setSourceMapsEnabled(true)
  assert.equal(await withoutSourceMaps(async () => areOn()), false)
  assert.equal(areOn(), true)
  const failing = withoutSourceMaps(() => Promise.reject(new Error('no such module')))
  assert.equal(areOn(), false)
  await assert.rejects(failing, { message: 'no such module' })
  assert.equal(areOn(), true)
  process.setSourceMapsEnabled(false)
  assert.equal(await withoutSourceMaps(async () => areOn()), false)
  assert.equal(areOn(), false, 'what was off stays off')
})
