import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type LoadConfigOptions, type LoadedConfig, loadConfig } from '../../../core/config/load-config.js'
import type { Mistake } from '../../../core/config/mistakes.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { folder } from '../support/folder.js'

/** Loads with nothing of this machine's environment. */
export function load(
  t: TestContext,
  env: Readonly<Record<string, string>> = {},
  files: Readonly<Record<string, string>> = {},
  options: Partial<LoadConfigOptions> = {},
): LoadedConfig {
  return loadConfig({ root: folder(t, files), env, terminal: false, ...options })
}

export function mistakesOf(run: () => unknown): readonly Mistake[] {
  let found: readonly Mistake[] | undefined
  assert.throws(run, (error) => {
    assert.ok(error instanceof RouteMQError)
    assert.equal(error.code, 'CONFIG_INVALID')
    found = error.details?.mistakes as readonly Mistake[]
    return true
  })
  return found!
}
