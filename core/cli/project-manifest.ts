import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { dependencyOf, installSpec } from './install-spec.js'
import { packageFile } from './package-files.js'
import type { ScaffoldedFile } from './scaffold.js'

/** Dependencies that build or fetch native code when they are installed; npm asks for them to be named. */
const ALLOWED_SCRIPTS = { '@serialport/bindings-cpp': true, 'better-sqlite3': true, esbuild: true }

type Lists = Record<string, Record<string, string>>
interface Manifest {
  name?: string
  type?: string
  scripts?: Record<string, string>
  [key: string]: unknown
}

const SCRIPTS: Readonly<Record<string, string>> = {
  // `exec`: a signal to npm must reach the product, not the shell between them.
  start: 'exec routemq --run',
  test: 'routemq test',
  check: 'tsc',
}

/** What `npm init` writes where nobody has written a test script; it stands for nothing. */
const NPM_PLACEHOLDER = 'echo "Error: no test specified" && exit 1'

/** Packages that the files of the default application import, or that its scripts call; versions as the product has them. */
const NEEDS = { dependencies: ['zod'], devDependencies: ['@types/node', 'typescript'] } as const

/**
 * Plans the package.json of a project, made or completed: scripts, `routemq` as it was installed, and what the files need.
 * What the project has already stays as it is.
 *
 * @throws SCAFFOLD_CONFLICT where it is no JSON, or says CommonJS while files rely on that.
 */
export function planManifest(target: string): { write(): ScaffoldedFile } {
  const path = join(target, 'package.json')
  const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined
  const manifest = before === undefined ? fresh(target) : parse(before, path)
  const notes: string[] = []

  if (manifest.type !== 'module') {
    const scripts = readdirSync(target).filter((name) => /\.(js|cjs)$/.test(name))
    if (manifest.type === 'commonjs' && scripts.length > 0) {
      const message = `package.json says "type": "commonjs" and ${scripts.join(', ')} may rely on it; the application is made of ES modules`
      throw new RouteMQError('SCAFFOLD_CONFLICT', message, { details: { path: 'package.json' } })
    }
    if (manifest.type !== undefined) notes.push(`"type" was ${JSON.stringify(manifest.type)} and is "module" now`)
    manifest.type = 'module'
  }
  const kept: string[] = []
  const scripts: Record<string, string> = { ...manifest.scripts }
  for (const [name, script] of Object.entries(SCRIPTS)) {
    if (scripts[name] === undefined || scripts[name] === NPM_PLACEHOLDER) scripts[name] = script
    else if (scripts[name] !== script) kept.push(name)
  }
  if (kept.length > 0) notes.push(`your scripts ${kept.join(', ')} stay`)
  manifest.scripts = scripts
  addDependencies(manifest, target)
  manifest.allowScripts ??= ALLOWED_SCRIPTS

  const indent = /^([ \t]+)"/m.exec(before ?? '')?.[1] ?? '  '
  const text = `${JSON.stringify(manifest, null, indent)}\n`
  return {
    write() {
      if (text === before) return { path: 'package.json', action: 'kept' }
      writeFileSync(path, text)
      const note = notes.length === 0 ? {} : { note: notes.join('; ') }
      return { path: 'package.json', action: before === undefined ? 'created' : 'merged', ...note }
    },
  }
}

function addDependencies(manifest: Manifest, target: string): void {
  const product = parse(readFileSync(packageFile('package.json'), 'utf8'), 'package.json') as Manifest & Lists
  const lists = manifest as unknown as Lists
  const add = (list: string, name: string, spec: string) => {
    if (dependencyOf(manifest, name) !== undefined) return
    const sorted = Object.entries({ ...lists[list], [name]: spec }).sort(([a], [b]) => (a < b ? -1 : 1))
    lists[list] = Object.fromEntries(sorted)
  }
  const name = String(product.name)
  add('dependencies', name, installSpec(name, String(product.version), target))
  for (const [list, names] of Object.entries(NEEDS)) {
    for (const needed of names) {
      const range = dependencyOf(product, needed)
      if (range === undefined) throw new Error(`the package's own package.json does not name ${needed}`)
      add(list, needed, range)
    }
  }
}

function fresh(target: string): Manifest {
  const name = basename(target)
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
  // npm refuses to install a package into a project of the same name.
  return { name: name === '' || name === 'routemq' ? 'routemq-app' : name, version: '0.1.0', private: true }
}

function parse(text: string, path: string): Manifest {
  try {
    const manifest: unknown = JSON.parse(text)
    if (typeof manifest === 'object' && manifest !== null && !Array.isArray(manifest)) return manifest as Manifest
  } catch (cause) {
    throw new RouteMQError('SCAFFOLD_CONFLICT', `${path} is no JSON`, { details: { path }, cause })
  }
  throw new RouteMQError('SCAFFOLD_CONFLICT', `${path} holds no object`, { details: { path } })
}
