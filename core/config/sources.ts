import { readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { parse as parseEnv } from 'dotenv'
import { CONFIG_FILE_NAMES, readConfigFile } from './config-file.js'
import { Mistakes } from './mistakes.js'
import { nearest } from './nearest.js'
import { SETTINGS, type Setting } from './settings.js'

/** One place settings come from. A text of `''` counts as not set. */
export interface Source {
  /** `environment`, `.env` or the name of the configuration file. */
  readonly from: string
  text(setting: Setting<unknown>, name: string): string | undefined
  /** How the source calls a setting: by the name it was asked for, or by its place in the file. */
  call(setting: Setting<unknown>, name: string): string
}

const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS)

/** Where the value of a setting came from, for messages and `config:show`. */
export interface Origin {
  readonly from: string
  /** The name it was found under: `MQTT_BROKER_HOST`, or its place in a configuration file. */
  readonly name: string
}

export interface Found {
  readonly text: string
  readonly origin: Origin
}

/** Reads `.env` under the environment, and a configuration file under both. Highest first. */
export function readSources(
  root: string,
  env: NodeJS.ProcessEnv,
  mistakes: Mistakes,
): { readonly sources: readonly Source[]; readonly retired: readonly string[] } {
  const dotenv = readDotenv(root, mistakes)
  reportUnknown(dotenv, mistakes)
  const sources: Source[] = [named('environment', env), named('.env', dotenv)]
  const file = readConfigFile(root, mistakes)
  if (file !== undefined) {
    sources.push({
      from: file.name,
      text: (setting, name) => (name === setting.names[0] ? file.texts.get(setting.path) : undefined),
      call: ({ path }) => path,
    })
  }
  return { sources, retired: Object.keys(dotenv).filter((name) => RETIRED_NAMES.has(name)) }

  function named(from: string, values: Readonly<Record<string, string | undefined>>): Source {
    return {
      from,
      call: (_, name) => name,
      text(setting, name) {
        const direct = values[name]
        if (direct !== undefined && direct !== '') return direct
        const path = setting.secret === 'file' ? values[`${name}_FILE`] : undefined
        return path === undefined || path === '' ? undefined : readSecret(root, `${name}_FILE`, path, mistakes)
      },
    }
  }
}

function readDotenv(root: string, mistakes: Mistakes): Readonly<Record<string, string>> {
  try {
    return parseEnv(readFileSync(join(root, '.env')))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOENT') {
      mistakes.add({ key: join(root, '.env'), got: String(code ?? error), want: 'a file that can be read' })
    }
    return {}
  }
}

/** The one trailing newline that editors and `kubectl create secret` add is no part of a secret. */
function readSecret(root: string, key: string, path: string, mistakes: Mistakes): string | undefined {
  try {
    const secret = readFileSync(resolve(root, path), 'utf8').replace(/\r?\n$/, '')
    if (secret.trim() !== '') return secret
    // Not the same as no setting: an empty list of keys would open what keys are to close.
    mistakes.add({ key, got: `${path} (an empty file)`, want: 'a file with the secret in it' })
    return undefined
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an unreadable file'
    mistakes.add({ key, got: `${path} (${code})`, want: 'a file that can be read' })
    return undefined
  }
}

const OURS = /^(ROUTEMQ|MQTT|DB|LOG|MODBUS|HTTP)_/

/** Names that RouteMQ's own `.env` files hold and that have no counterpart here: they say so instead of failing. */
const RETIRED_NAMES: ReadonlySet<string> = new Set([
  'LOG_DATE_FORMAT',
  'LOG_ROTATION_TYPE',
  'LOG_ROTATION_WHEN',
  'LOG_ROTATION_INTERVAL',
])

function reportUnknown(dotenv: Readonly<Record<string, string>>, mistakes: Mistakes): void {
  const known = new Set(
    ALL.flatMap((one) => (one.secret === 'file' ? one.names.flatMap((n) => [n, `${n}_FILE`]) : one.names)),
  )
  for (const name of Object.keys(dotenv)) {
    if (!OURS.test(name) || known.has(name) || RETIRED_NAMES.has(name)) continue
    const close = nearest(name, known)
    mistakes.add({
      key: name,
      got: 'an unknown setting in .env',
      want: close === undefined ? 'a name of docs/reference/configuration.md' : `${close}, or nothing`,
    })
  }
}

/** Every file that the configuration may come from: `.env`, `routemq.config.*`, and the files of secrets. */
export function configurationFiles(
  root: string,
  env: NodeJS.ProcessEnv,
): readonly { readonly folder: string; readonly name: string }[] {
  const dotenv = readDotenv(root, new Mistakes())
  const secrets = ALL.filter(({ secret }) => secret === 'file')
    .flatMap(({ names }) => names.map((name) => env[`${name}_FILE`] || dotenv[`${name}_FILE`]))
    .filter((path) => path !== undefined && path !== '')
  return [
    ...['.env', ...CONFIG_FILE_NAMES].map((name) => join(root, name)),
    ...secrets.map((path) => resolve(root, path!)),
  ].map((path) => ({ folder: dirname(path), name: basename(path) }))
}

/**
 * Puts the values of `.env` into the environment of this process, from where the application's own code, here and in
 * workers, reads its settings. What the environment had before is stronger.
 */
export class DotenvMirror {
  readonly #root: string
  readonly #env: NodeJS.ProcessEnv
  readonly #own = new Set<string>()

  constructor(root: string, env: NodeJS.ProcessEnv = process.env) {
    this.#root = root
    this.#env = env
  }

  /** Takes what `.env` says now; what it no longer says goes. Returns what takes that back. */
  refresh(): () => void {
    const before = Object.fromEntries([...this.#own].map((name) => [name, this.#env[name] ?? '']))
    this.#take(readDotenv(this.#root, new Mistakes()))
    return () => this.#take(before)
  }

  #take(values: Readonly<Record<string, string>>): void {
    for (const name of this.#own) {
      if (name in values) continue
      delete this.#env[name]
      this.#own.delete(name)
    }
    for (const [name, value] of Object.entries(values)) {
      if (name in this.#env && !this.#own.has(name)) continue
      this.#env[name] = value
      this.#own.add(name)
    }
  }
}
