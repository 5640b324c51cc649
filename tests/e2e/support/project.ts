import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')
const APPLICATION = ['app', 'bootstrap', 'controllers', 'middleware', 'migrations', 'routers']
const PACKAGES = ['zod', 'tsx']

/** Puts a copy of the framework into a project beside all its packages but one: an installation where that one is missing. */
export function withoutPackage(root: string, missing: string): { cli: string } {
  const modules = join(root, 'node_modules')
  rmSync(modules, { recursive: true })
  mkdirSync(modules)
  for (const name of readdirSync(join(REPOSITORY, 'node_modules'))) {
    if (name !== missing) symlinkSync(join(REPOSITORY, 'node_modules', name), join(modules, name))
  }
  const framework = join(modules, 'routemq')
  cpSync(join(REPOSITORY, 'core'), join(framework, 'core'), { recursive: true })
  cpSync(join(REPOSITORY, 'package.json'), join(framework, 'package.json'))
  return { cli: join(framework, 'core/cli/main.ts') }
}

/** A project folder of its own, as `--init` would make it, with this checkout as its `routemq`. */
export function makeProject(files: Readonly<Record<string, string>> = {}): { root: string; remove(): void } {
  const root = mkdtempSync(join(tmpdir(), 'routemq-e2e-'))
  for (const folder of APPLICATION) cpSync(join(REPOSITORY, folder), join(root, folder), { recursive: true })
  mkdirSync(join(root, 'node_modules'))
  symlinkSync(REPOSITORY, join(root, 'node_modules/routemq'))
  for (const name of PACKAGES) symlinkSync(join(REPOSITORY, 'node_modules', name), join(root, 'node_modules', name))
  writeFileSync(join(root, 'package.json'), JSON.stringify({ name: 'plant', private: true, type: 'module' }))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) }
}

/** The files git knows or would add, as a clone has them, beside this checkout's installed packages. */
export function copyCheckout(): string {
  const target = mkdtempSync(join(tmpdir(), 'routemq-checkout-'))
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  })
  for (const file of listed.split('\0').filter((name) => name !== '' && existsSync(join(REPOSITORY, name)))) {
    mkdirSync(dirname(join(target, file)), { recursive: true })
    cpSync(join(REPOSITORY, file), join(target, file))
  }
  symlinkSync(join(REPOSITORY, 'node_modules'), join(target, 'node_modules'))
  return target
}

let isBuilt = false

/** What runs is what `npm start` and the package run, compiled; built here where a source is newer, as after an edit. */
export function buildProduct(): void {
  if (isBuilt) return
  const core = join(REPOSITORY, 'core')
  const isFresh = readdirSync(core, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .every((name) => {
      const built = statSync(join(REPOSITORY, 'dist/core', name.replace(/ts$/, 'js')), { throwIfNoEntry: false })
      return built !== undefined && built.mtimeMs >= statSync(join(core, name)).mtimeMs
    })
  if (!isFresh) execFileSync('npm', ['run', '-s', 'build:run'], { cwd: REPOSITORY })
  isBuilt = true
}
