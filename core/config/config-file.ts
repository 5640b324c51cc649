import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Mistakes } from './mistakes.js'
import { nearest } from './nearest.js'
import { SETTINGS } from './settings.js'

/** A configuration file, flattened: place in the file (`http.port`) to its text. */
export interface ConfigFile {
  readonly name: string
  readonly texts: ReadonlyMap<string, string>
}

/** Looked for in this order; more than one is a mistake. */
export const CONFIG_FILE_NAMES = [
  'routemq.config.json',
  'routemq.config.yaml',
  'routemq.config.yml',
  'routemq.config.ts',
] as const

const PATHS: ReadonlySet<string> = new Set(Object.values(SETTINGS).map((setting) => setting.path))
const SECRETS: ReadonlySet<string> = new Set(
  Object.values(SETTINGS).flatMap(({ secret, path }) => (secret === false ? [] : [path])),
)

/** Reads the one `routemq.config.*` of a folder; undefined where there is none. */
export function readConfigFile(root: string, mistakes: Mistakes): ConfigFile | undefined {
  const present = CONFIG_FILE_NAMES.filter((name) => existsSync(join(root, name)))
  const [name, ...others] = present
  if (name === undefined) return undefined
  if (others.length > 0) {
    mistakes.add({ key: name, got: `also ${others.join(' and ')}`, want: 'one configuration file' })
  }
  try {
    return { name, texts: flatten(name, load(join(root, name)), mistakes) }
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    mistakes.add({ key: name, got: said.split('\n')[0] ?? said, want: 'a file that can be read' })
    return undefined
  }
}

const here = createRequire(import.meta.url)

/** What reads a kind of file is loaded with the first one: most installations have none. */
function load(path: string): unknown {
  if (path.endsWith('.json')) return parseJson(readFileSync(path, 'utf8'))
  if (!path.endsWith('.ts')) return (here('yaml') as typeof import('yaml')).parse(readFileSync(path, 'utf8'))
  // Configuration is read before anything can be awaited, so the file is compiled as CommonJS by tsx.
  const tsx = here('tsx/cjs/api') as { require(id: string, from: string): { default?: unknown } }
  const content = tsx.require(path, import.meta.url).default
  // Node keeps what it compiled; a reload must see the file as it is then.
  for (const key of Object.keys(here.cache)) if (key.split('?')[0] === path) delete here.cache[key]
  return content
}

/** The message of the parser may quote what stands there, and a password stands there: only the place is told. */
function parseJson(content: string): unknown {
  try {
    return JSON.parse(content)
  } catch (error) {
    const position = /at position (\d+)/.exec((error as Error).message)?.[1]
    const where = position === undefined ? '' : ` from line ${content.slice(0, Number(position)).split('\n').length} on`
    throw new Error(`no JSON${where}`)
  }
}

function flatten(name: string, content: unknown, mistakes: Mistakes): ReadonlyMap<string, string> {
  const texts = new Map<string, string>()
  const walk = (value: unknown, path: string): void => {
    if (PATHS.has(path)) {
      if (value === null || value === undefined) return
      const scalar = Array.isArray(value) ? value.join(',') : value
      if (typeof scalar === 'object') {
        mistakes.add({ key: `${name} ${path}`, got: 'a group of settings', want: 'one value' })
      } else if (SECRETS.has(path) && ![value].flat().every((each) => typeof each === 'string')) {
        // 00123456 would be 123456 by now, and 1e3 would be 1000: nobody can say what was meant.
        mistakes.add({ key: `${name} ${path}`, got: 'no text', want: 'a text in quotes: "00123456", not 00123456' })
      } else texts.set(path, String(scalar))
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) walk(inner, path === '' ? key : `${path}.${key}`)
    } else {
      const close = nearest(path, PATHS)
      mistakes.add({
        key: path === '' ? name : `${name} ${path}`,
        got: path === '' ? 'no group of settings' : 'an unknown setting',
        want: path === '' ? 'groups such as `mqtt` and `http`' : (close ?? 'a path of docs/reference/configuration.md'),
      })
    }
  }
  if (content !== null && content !== undefined) walk(content, '')
  return texts
}
