import { effectOf } from './effect.js'
import type { ConfigFlags } from './load-config.js'
import { MASK, maskUrl } from './mistakes.js'
import type { Resolved, Values } from './resolve.js'
import { type Effect, SETTINGS, type Setting, type SettingKey } from './settings.js'

/** One line of `config:show`. */
export interface SettingReport {
  readonly path: string
  /** The name it was found under, else the name it may be set by. */
  readonly name: string
  /** As it was understood, `null` where nothing is set or assumed; secrets are masked. */
  readonly value: unknown
  /** `flag`, `environment`, `.env`, the configuration file, or `default`. */
  readonly from: string
  readonly effect: Effect
}

export function describeSettings({ values, origins }: Resolved, flags: ConfigFlags): readonly SettingReport[] {
  return (Object.entries(SETTINGS) as [SettingKey, Setting<unknown>][]).map(([key, setting]) => {
    const { path, effect, secret } = setting
    if (key === 'workers' && flags.workers !== undefined) {
      return { path, name: '--workers', value: flags.workers, from: 'flag', effect }
    }
    const origin = origins.get(key)
    const bare = values[key] ?? null
    const value = secret && origin !== undefined ? MASK : typeof bare === 'string' ? maskUrl(bare) : bare
    return { path, name: origin?.name ?? setting.names[0], value, from: origin?.from ?? 'default', effect }
  })
}

/** A setting that differs between two generations of the configuration, and what its change needs. */
export interface SettingChange {
  readonly path: string
  readonly name: string
  readonly effect: Effect
}

export function changedSettings(before: Values, after: Values, flags: ConfigFlags = {}): readonly SettingChange[] {
  return (Object.entries(SETTINGS) as [SettingKey, Setting<unknown>][])
    .filter(([key]) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
    .map(([key, { path, names }]) => ({ path, name: names[0], effect: effectOf(key, before, after, flags) }))
}
