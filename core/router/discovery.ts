import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, dirname, join, relative, sep } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { moduleUrl } from '../support/source-module.js'
import type { LoadedRouter } from './commit.js'
import type { MiddlewareFactory } from './context.js'
import { Router } from './router.js'

const SOURCE = /\.(?:[mc]?ts|[mc]?js)$/
const NOT_LOADED = /\.d\.[mc]?ts$|\.(?:test|spec)(?:-d)?\.[mc]?[jt]s$/

/**
 * Imports every router file below a folder, sorted by name. All files are tried; those that do not load, or export
 * something else than a Router as default, end the start together: ROUTER_INVALID.
 * `root` is what file names in messages and listings are relative to: the folder of the application.
 */
export async function loadRouters(dir: string, root: string = dirname(dir)): Promise<LoadedRouter[]> {
  const files = await sourceFiles(dir)
  if (files === undefined) throw new RouteMQError('ROUTER_INVALID', `there is no folder ${dir} to load routers from`)
  const loaded = await loadAll(files, root, (exported, file) => {
    if (exported instanceof Router) return { router: exported, file }
    const what = exported === undefined ? 'has no default export' : `exports ${describe(exported)} as its default`
    return `${what}; a router file ends with \`export default router\``
  })
  return loaded
}

/**
 * Imports every middleware file below a folder; the name of a middleware is its file's, `auth/jwt.ts` is `auth/jwt`.
 * An application without the folder has none. ROUTER_INVALID as for {@link loadRouters}.
 */
export async function loadMiddleware(
  dir: string,
  root: string = dirname(dir),
): Promise<Readonly<Record<string, MiddlewareFactory>>> {
  const files = (await sourceFiles(dir)) ?? []
  const byName = new Map<string, string>()
  const loaded = await loadAll(files, root, (exported, file, path) => {
    const name = relative(dir, path).split(sep).join('/').replace(SOURCE, '')
    const twin = byName.get(name)
    if (twin !== undefined) return `names the middleware "${name}" as ${twin} does`
    byName.set(name, file)
    if (typeof exported === 'function') return [name, exported as MiddlewareFactory] as const
    const what = exported === undefined ? 'has no default export' : `exports ${describe(exported)} as its default`
    return `${what}; a middleware file exports a function that makes the middleware`
  })
  return Object.freeze(Object.fromEntries(loaded))
}

/** Files to import, sorted; undefined where there is no such folder. */
async function sourceFiles(dir: string): Promise<string[] | undefined> {
  let entries: Dirent[]
  try {
    entries = await readdir(dir, { recursive: true, withFileTypes: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new RouteMQError('ROUTER_INVALID', `the folder ${dir} cannot be read`, { cause: error })
  }
  return entries
    .filter((entry) => !entry.isDirectory() && SOURCE.test(entry.name) && !NOT_LOADED.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(
      (path) =>
        !relative(dir, path)
          .split(sep)
          .some((part) => part.startsWith('.') || part === 'node_modules'),
    )
    .sort()
}

async function loadAll<T extends object>(
  files: readonly string[],
  root: string,
  accept: (exported: unknown, file: string, path: string) => T | string,
): Promise<T[]> {
  const loaded: T[] = []
  const failures: { readonly file: string; readonly message: string; readonly cause: unknown }[] = []
  for (const path of files) {
    const file = relative(root, path).split(sep).join('/')
    try {
      // One after another: modules with side effects then run in the order of their names.
      const module = await importGuarded(path, file)
      const accepted = accept(module.default, file, path)
      if (typeof accepted === 'string') failures.push({ file, message: accepted, cause: undefined })
      else loaded.push(accepted)
    } catch (cause) {
      failures.push({ file, message: `could not be loaded: ${reasonOf(cause)}`, cause })
    }
  }
  const first = failures[0]
  if (first === undefined) return loaded
  const lines = failures.map(({ file, message }) => `${file} ${message}`)
  const text = lines.length === 1 ? lines[0]! : `${lines.length} files cannot be used:\n  ${lines.join('\n  ')}`
  throw new RouteMQError('ROUTER_INVALID', text, {
    cause: first.cause,
    details: { files: failures.map(({ file }) => file) },
  })
}

/** A file that has not loaded by then waits for something that does not come. */
const LOAD_LIMIT_MS = 30_000

/** Imports a file that may wait for ever at its top level, or end the process while it loads. */
async function importGuarded(path: string, file: string): Promise<{ readonly default?: unknown }> {
  const onExit = () => {
    console.error(`routemq: ROUTER_INVALID: ${file} ended the process while it was loaded`)
    process.exitCode = 1
  }
  process.once('exit', onExit)
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not load within ${LOAD_LIMIT_MS / 1_000} s`)), LOAD_LIMIT_MS)
  })
  try {
    return await Promise.race([import(freshUrl(path)), limit])
  } finally {
    clearTimeout(timer)
    process.off('exit', onExit)
  }
}

const loads = new Map<string, number>()

/**
 * A router is committed once, and Node.js evaluates a module once. A process that loads an application again (tests, the
 * gateway that lists routes and runs them too) gets new routers by a new URL; what these import stays one module.
 */
function freshUrl(path: string): string {
  const load = loads.get(path) ?? 0
  loads.set(path, load + 1)
  const url = moduleUrl(path)
  if (load > 0) url.searchParams.set('load', String(load))
  return url.href
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
}

function describe(exported: unknown): string {
  if (exported === null || typeof exported !== 'object') return exported === null ? 'null' : `a ${typeof exported}`
  const name = exported.constructor?.name ?? 'object'
  // Two installed copies of the package have two Router classes.
  return name === 'Router' ? 'a Router of another copy of routemq' : `an object (${basename(name)})`
}
