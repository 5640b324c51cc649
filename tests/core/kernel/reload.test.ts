import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Config } from '../../../core/config/config.js'
import { loadConfig } from '../../../core/config/load-config.js'
import { DotenvMirror } from '../../../core/config/sources.js'
import { Reload } from '../../../core/kernel/reload.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'

type Apply = (config: Config, restartWorkers: boolean) => Promise<void>

function setUp(t: TestContext, apply: Apply) {
  const root = mkdtempSync(join(tmpdir(), 'routemq-reload-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  // Kept as a secret store keeps it: the file is a link into a folder that is a link itself.
  const put = (key: string, version: string) => {
    mkdirSync(join(root, version))
    writeFileSync(join(root, version, 'keys'), key)
    symlinkSync(version, join(root, 'fresh'))
    renameSync(join(root, 'fresh'), join(root, '..data'))
  }
  put('first-key', 'v1')
  symlinkSync(join('..data', 'keys'), join(root, 'keys'))
  const env = { ROUTEMQ_API_KEYS_FILE: 'keys', ROUTEMQ_INSTANCE: 'test' }
  const loaded = loadConfig({ root, env, flags: {} })
  const dotenv = new DotenvMirror(root, {})
  const reload = new Reload({ root, env, flags: {}, loaded, dotenv, apply, logger: silentLogger, clock: systemClock })
  return { put, reload }
}

test('a generation that did not get everywhere is applied again, also where the files went back meanwhile', async (t) => {
  const seen: (readonly [string, boolean])[] = []
  let fails = true
  const { put, reload } = setUp(t, async ({ app }, restartWorkers) => {
    seen.push([app.apiKeys.join(), restartWorkers])
    if (fails) throw new Error('a worker did not come up')
  })
  put('second-key', 'v2')
  await reload.reload('test')
  await reload.reload('test')
  put('first-key', 'v3')
  fails = false
  await reload.reload('test')
  await reload.reload('test')
  assert.deepEqual(
    seen.map(([key]) => key),
    ['second-key', 'second-key', 'first-key'],
  )
  assert.deepEqual([seen[1]![1], seen[2]![1]], [seen[0]![1], seen[0]![1]])
})

test('a secret that Kubernetes replaces is seen', { timeout: 30_000 }, async (t) => {
  let tell = (_key: string) => {}
  const applied = new Promise<string>((resolve) => {
    tell = resolve
  })
  const { put, reload } = setUp(t, async ({ app }) => tell(app.apiKeys.join()))
  // The watchers of the product keep no process alive.
  const awake = setInterval(() => {}, 1_000)
  t.after(() => clearInterval(awake))
  reload.start()
  t.after(() => reload.stop())
  put('second-key', 'v2')
  assert.equal(await applied, 'second-key')
})
