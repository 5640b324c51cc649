import { chmodSync, constants, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { packageFile, packageFolder } from './package-files.js'

/** What became of one file of the new project. */
export interface ScaffoldedFile {
  readonly path: string
  /** `kept`: it was there and is untouched. */
  readonly action: 'created' | 'kept' | 'merged'
  readonly note?: string
}

/** Folders of the default application, copied as they are. */
const FOLDERS = ['bootstrap', 'app', 'routers', 'controllers', 'middleware', 'migrations', 'tests/app']

/** Single files: from the package, to the project. npm packs no nested .gitignore, hence its other name. */
const FILES: readonly (readonly [from: string, to: string])[] = [
  ['.env.example', '.env.example'],
  ['.env.example', '.env'],
  ['stubs/gitignore', '.gitignore'],
  ['stubs/tsconfig.json', 'tsconfig.json'],
]

/**
 * Copies the default application into a folder. What is there already is kept, never overwritten.
 *
 * @throws SCAFFOLD_CONFLICT where a file stands in the place of a folder, or the folder is the package itself.
 */
export function copyApplication(target: string): ScaffoldedFile[] {
  const source = packageFolder()
  if (join(target) === join(source)) {
    throw new RouteMQError('SCAFFOLD_CONFLICT', `${target} is the package itself`)
  }
  const pairs = [
    ...FOLDERS.flatMap((folder) => filesBelow(join(source, folder)).map((file) => relative(source, file))).map(
      (path) => [path, path] as const,
    ),
    ...FILES,
  ]
  for (const [, to] of pairs) refuseBlocked(target, to)
  return pairs.map(([from, to]) => copy(packageFile(from), target, to))
}

/** Looked at before the first copy, so that a conflict leaves the folder as it was. */
function refuseBlocked(target: string, path: string): void {
  const parts = path.split('/')
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const entry = statSync(join(target, ...parts.slice(0, depth)), { throwIfNoEntry: false })
    if (entry === undefined) return
    const wanted = depth < parts.length ? 'folder' : 'file'
    if (wanted === 'folder' ? !entry.isDirectory() : !entry.isFile()) {
      const blocked = parts.slice(0, depth).join('/')
      throw new RouteMQError('SCAFFOLD_CONFLICT', `${blocked} is there and is no ${wanted}`, {
        details: { path: blocked },
      })
    }
  }
}

function copy(from: string, target: string, path: string): ScaffoldedFile {
  const to = join(target, path)
  try {
    mkdirSync(dirname(to), { recursive: true })
    copyFileSync(from, to, constants.COPYFILE_EXCL)
    // Settings hold secrets sooner or later.
    if (path === '.env') chmodSync(to, 0o600)
    return { path, action: 'created' }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code !== 'EEXIST') {
      const options = { details: { path }, cause }
      throw new RouteMQError('SCAFFOLD_CONFLICT', `${path} cannot be made in ${target} (${code})`, options)
    }
    const same = readFileSync(from).equals(readFileSync(to))
    return same ? { path, action: 'kept' } : { path, action: 'kept', note: 'yours differs' }
  }
}

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      return entry.isDirectory() ? filesBelow(path) : [path]
    })
}
