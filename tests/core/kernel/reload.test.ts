import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Config } from '../../../core/config/config.js'
import { loadConfig } from '../../../core/config/load-config.js'
import { DotenvMirror } from '../../../core/config/sources.js'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import { Reload } from '../../../core/kernel/reload.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'

type Apply = (config: Config, restartWorkers: boolean) => Promise<void>
interface SetUp {
  readonly takeBack?: (config: Config) => Promise<void>
  readonly workers?: number
}

function setUp(t: TestContext, apply: Apply, { takeBack = async () => {}, workers = 2 }: SetUp = {}) {
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
  const flags = { workers }
  const loaded = loadConfig({ root, env, flags })
  const seenByApp: NodeJS.ProcessEnv = {}
  const dotenv = new DotenvMirror(root, seenByApp)
  dotenv.refresh()
  const lines: { readonly facts: object; readonly sentence: string | undefined }[] = []
  const keep = (facts: object, sentence?: string) => void lines.push({ facts, sentence })
  const logger = { ...silentLogger, info: keep, warn: keep, error: keep }
  const audited: AuditInput[] = []
  const audit = async (entry: AuditInput) => void audited.push(entry)
  const options = { root, env, flags, loaded, dotenv, apply, takeBack, audit, logger, clock: systemClock }
  const writeEnv = (text: string) => writeFileSync(join(root, '.env'), text)
  return { put, reload: new Reload(options), writeEnv, seenByApp, lines, audited }
}

test('a generation that a part cannot take is taken back everywhere, and tried again when it is read again', async (t) => {
  const calls: string[] = []
  let fails = true
  const { put, reload, writeEnv, seenByApp, lines } = setUp(
    t,
    async ({ app }) => {
      calls.push(`apply ${app.apiKeys}, the application sees ${seenByApp.LINE}`)
      if (fails) throw new Error('a worker did not come up')
    },
    {
      takeBack: async ({ app }) => {
        calls.push(`back to ${app.apiKeys}, the application sees ${seenByApp.LINE}`)
      },
    },
  )
  put('second-key', 'v2')
  writeEnv('LINE=7')
  await reload.reload('test')
  assert.match(lines.at(-1)!.sentence!, /was not taken; what was in force before stays in force/)
  fails = false
  await reload.reload('test')
  await reload.reload('test')
  assert.deepEqual(calls, [
    'apply second-key, the application sees 7',
    'back to first-key, the application sees undefined',
    'apply second-key, the application sees 7',
  ])
  assert.match(lines.at(-1)!.sentence!, /nothing changed/)
})

test('without worker processes, what only new workers see waits for a restart, and the log level does not', async (t) => {
  const applied: (readonly [readonly string[], string, boolean])[] = []
  const { put, reload, writeEnv, lines } = setUp(
    t,
    async ({ app, log }, restartWorkers) => void applied.push([app.apiKeys, log.level, restartWorkers]),
    { workers: 0 },
  )
  put('second-key', 'v2')
  writeEnv('LOG_LEVEL=debug\nROUTEMQ_WORKERS=3\nHTTP_API_KEYS=key-of-sixteen-or-more')
  await reload.reload('test')
  assert.deepEqual(applied, [[['first-key'], 'debug', false]])
  assert.deepEqual(lines.at(-1)!.facts, {
    reason: 'test',
    applied: ['HTTP_API_KEYS', 'LOG_LEVEL'],
    workers: [],
    needs_restart: ['ROUTEMQ_API_KEYS', 'ROUTEMQ_WORKERS'],
  })
})

test('one that could not be taken back is applied again, also where the files went back meanwhile', async (t) => {
  const seen: (readonly [string, boolean])[] = []
  let fails = true
  const { put, reload, lines } = setUp(
    t,
    async ({ app }, restartWorkers) => {
      seen.push([app.apiKeys.join(), restartWorkers])
      if (fails) throw new Error('a worker did not come up')
    },
    {
      takeBack: async () => {
        throw new Error('nor did it with what was there before')
      },
    },
  )
  put('second-key', 'v2')
  await reload.reload('test')
  assert.match(lines.at(-1)!.sentence!, /did not get everywhere/)
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

test('what a reload changed, and how it ended, is audited by name', async (t) => {
  let failing = 0
  const apply = async () => {
    if (failing > 0) throw new Error('a worker did not come up')
  }
  const takeBack = async () => {
    if (failing > 1) throw new Error('nor back')
  }
  const { put, reload, writeEnv, audited } = setUp(t, apply, { takeBack })
  const last = () => {
    const { actor, action, outcome, code, after } = audited.at(-1)!
    assert.deepEqual([actor.kind, action], ['app', 'config.reload'])
    return [actor.name, outcome, code, after]
  }
  await reload.reload('SIGHUP')
  assert.deepEqual(audited, [], 'nothing changed')
  put('second-key', 'v2')
  writeEnv('POLL_INTERVAL_SECONDS=7\nHTTP_PORT=8009')
  await reload.reload('SIGHUP')
  const changed = {
    applied: ['POLL_INTERVAL_SECONDS'],
    workers: ['ROUTEMQ_API_KEYS'],
    needs_restart: ['HTTP_PORT'],
  }
  assert.deepEqual(last(), ['SIGHUP', 'ok', undefined, changed])
  writeEnv('POLL_INTERVAL_SECONDS=never\nHTTP_API_KEYS=short')
  await reload.reload('file changed')
  assert.deepEqual(last(), [
    'file changed',
    'refused',
    'CONFIG_INVALID',
    { mistakes: ['POLL_INTERVAL_SECONDS', 'HTTP_API_KEYS'] },
  ])
  failing = 1
  writeEnv('POLL_INTERVAL_SECONDS=8\nHTTP_PORT=8009')
  await reload.reload('file changed')
  const again = { applied: ['POLL_INTERVAL_SECONDS'], workers: [], needs_restart: ['HTTP_PORT'] }
  assert.deepEqual(last(), ['file changed', 'rejected', 'INTERNAL', again])
  failing = 2
  await reload.reload('SIGHUP')
  assert.deepEqual(last(), ['SIGHUP', 'unknown', 'INTERNAL', again])
  assert.equal(audited.length, 4)
  assert.ok(!/-key|short|8009/.test(JSON.stringify(audited)), 'no value')
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
