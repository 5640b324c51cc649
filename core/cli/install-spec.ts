import { readFileSync, realpathSync } from 'node:fs'
import { isAbsolute, join, relative, resolve, sep } from 'node:path'
import { packageFolder } from './package-files.js'

interface LockFile {
  readonly packages?: Readonly<Record<string, { readonly resolved?: string; readonly link?: boolean } | undefined>>
}

/**
 * What a project must depend on to get this very package again: the tarball, folder, git or version it was installed
 * from. The name alone would not do, because anybody may publish under it.
 *
 * @param target Folder of the project; a tarball inside it is named relative to it.
 */
export function installSpec(name: string, version: string, target: string, installed = packageFolder()): string {
  const parts = installed.split(sep)
  const at = parts.lastIndexOf('node_modules')
  // Not below node_modules: a checkout, perhaps linked. It is depended on as a folder.
  if (at < 0) return fileSpec(realpathSync(installed), target)
  const holder = parts.slice(0, at).join(sep) || sep
  const key = parts.slice(at).join('/')
  for (const file of [join(holder, 'package-lock.json'), join(holder, 'node_modules/.package-lock.json')]) {
    const entry = readJson<LockFile>(file)?.packages?.[key]
    if (entry === undefined) continue
    const { resolved } = entry
    if (resolved === undefined) return version
    if (entry.link === true) return fileSpec(resolve(holder, resolved), target)
    if (resolved.startsWith('file:')) return fileSpec(resolve(holder, resolved.slice('file:'.length)), target)
    // A registry's own tarballs lie under `/-/`: the version names them without naming the registry.
    return /^https?:/.test(resolved) && resolved.includes(`/${name}/-/`) ? version : resolved
  }
  const asked = dependencyOf(readJson(join(holder, 'package.json')), name)
  if (asked === undefined) return version
  return asked.startsWith('file:') ? fileSpec(resolve(holder, asked.slice('file:'.length)), target) : asked
}

/** The spec a package.json has for a dependency, in whichever list. */
export function dependencyOf(manifest: unknown, name: string): string | undefined {
  if (typeof manifest !== 'object' || manifest === null) return undefined
  for (const list of ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']) {
    const spec = (manifest as Record<string, Record<string, unknown> | undefined>)[list]?.[name]
    if (typeof spec === 'string') return spec
  }
  return undefined
}

function fileSpec(path: string, target: string): string {
  const below = relative(target, path)
  const inside = below !== '' && !below.startsWith(`..${sep}`) && below !== '..' && !isAbsolute(below)
  return `file:${(inside ? below : path).split(sep).join('/')}`
}

function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T
  } catch {
    return undefined // Absent or broken: the next place is looked at.
  }
}
