import { effectOf } from './effect.js'
import type { ConfigFlags } from './load-config.js'
import { MASK, type Mistakes, maskUrl } from './mistakes.js'
import { SETTINGS, type Setting, type SettingKey } from './settings.js'
import type { Found, Origin, Source } from './sources.js'

/** Value of each setting: what was set, else its fallback, else undefined. */
export type Values = {
  readonly [K in SettingKey]: (typeof SETTINGS)[K] extends Setting<infer T> ? T | undefined : never
}

export interface Resolved {
  readonly values: Values
  /** Only of what was set; lower is stronger in `rank`: 0 environment, 1 `.env`, 2 configuration file. */
  readonly origins: ReadonlyMap<SettingKey, Origin & { readonly rank: number; readonly text: string }>
}

/**
 * Takes each setting from the strongest source that has it. Two names for one thing that differ give a warning that
 * says which won.
 */
export function resolveSettings(sources: readonly Source[], mistakes: Mistakes, warnings: string[]): Resolved {
  const values: Record<string, unknown> = {}
  const origins = new Map<SettingKey, Origin & { rank: number; text: string }>()
  for (const [key, setting] of Object.entries(SETTINGS) as [SettingKey, Setting<unknown>][]) {
    const all = sources.flatMap((source, rank) =>
      setting.names.flatMap((name): (Found & { rank: number })[] => {
        const text = source.text(setting, name)
        return text === undefined
          ? []
          : [{ text, rank, origin: { from: source.from, name: source.call(setting, name) } }]
      }),
    )
    const won = all[0]
    values[key] = setting.fallback
    if (won === undefined) continue
    for (const other of all) {
      if (other.origin.name !== won.origin.name && other.text !== won.text) {
        warnings.push(differ(setting.secret !== false, won, other))
      }
    }
    const value = setting.kind.parse(won.text)
    if (value === undefined) {
      mistakes.add({ key: keyOf(won.origin), got: setting.secret ? MASK : maskUrl(won.text), want: setting.kind.want })
      continue
    }
    if (setting.secret !== false && Array.isArray(value) && value.length === 0) {
      mistakes.add({
        key: keyOf(won.origin),
        got: 'a list without items',
        want: 'at least one item, or no such setting',
      })
      continue
    }
    values[key] = value
    origins.set(key, { ...won.origin, rank: won.rank, text: won.text })
  }
  return { values: values as Values, origins }
}

/** Names speak for themselves; a place in a file needs the file. */
function keyOf({ from, name }: Origin): string {
  return name.includes('.') ? `${from} ${name}` : name
}

function differ(secret: boolean, won: Found, lost: Found): string {
  const show = (found: Found) => `${found.origin.name}=${secret ? MASK : maskUrl(found.text)} (${found.origin.from})`
  return `${show(won)} is used; ${show(lost)} names the same thing and is not.`
}

/** The new settings, but with those that need a restart as they are in the running product. */
export function holdBack(fresh: Resolved, running: Resolved, flags: ConfigFlags): Resolved {
  const values: Record<string, unknown> = { ...fresh.values }
  const origins = new Map(fresh.origins)
  for (const key of Object.keys(SETTINGS) as SettingKey[]) {
    if (effectOf(key, running.values, fresh.values, flags) !== 'restart') continue
    values[key] = running.values[key]
    const origin = running.origins.get(key)
    if (origin === undefined) origins.delete(key)
    else origins.set(key, origin)
  }
  return { values: values as Values, origins }
}
