import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, extname, join, relative, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BuildResult, Loader, Metafile, Plugin } from 'esbuild'

/** Where an application's modules are that the framework imports by path; what these import is found from there. */
export const COMPILED_FOLDERS: readonly string[] = ['bootstrap', 'app', 'routers', 'middleware', 'migrations']
const SOURCE = /\.(?:[mc]?ts|[mc]?js)$/
const NOT_SOURCE = /\.d\.[mc]?ts$|\.(?:test|spec)(?:-d)?\.[mc]?[jt]s$/
/** Builds that stay: processes of an earlier one may still load from it. */
const KEPT_BUILDS = 3

/** What a build was made of, and what it made. Paths are relative to the application's folder. */
interface Manifest {
  readonly compiler: string
  readonly entries: readonly string[]
  /** Every file that went into it: time of its last change, and size. */
  readonly inputs: Readonly<Record<string, string>>
  readonly outputs: Readonly<Record<string, string>>
  /** Every file it made, entries and what they share, in bytes: a power cut may leave some empty. */
  readonly sizes: Readonly<Record<string, number>>
}

type Compiled = BuildResult<{ write: false; metafile: true }>

/**
 * Compiles an application's TypeScript to `.routemq/build`, once for all its processes and until a file changes: a loader
 * in each of them costs 40 MB and most of the time to start. Resolves with source file -> compiled file; undefined where
 * it cannot be compiled, and then a loader finds the words for why.
 */
export async function compileApp(root: string): Promise<ReadonlyMap<string, string> | undefined> {
  const entries = entriesOf(root)
  if (!entries.some((file) => /\.[mc]?ts$/.test(file))) return new Map()
  const folder = join(root, '.routemq/build')
  try {
    const manifest = readManifest(root, folder, entries) ?? (await build(root, folder, entries))
    return manifest && new Map(Object.entries(manifest.outputs).map(([from, to]) => [join(root, from), join(root, to)]))
  } catch {
    // A mistake in a source, or a folder that cannot be written: the loader goes on, and names the file and its line.
    return undefined
  }
}

function entriesOf(root: string): string[] {
  return COMPILED_FOLDERS.flatMap((name) => {
    const folder = join(root, name)
    if (!existsSync(folder)) return []
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && SOURCE.test(entry.name) && !NOT_SOURCE.test(entry.name))
      .map((entry) => slashed(relative(root, join(entry.parentPath, entry.name))))
      .filter((path) => !path.split('/').some((part) => part.startsWith('.') || part === 'node_modules'))
  }).sort()
}

function readManifest(root: string, folder: string, entries: readonly string[]): Manifest | undefined {
  const file = join(folder, 'manifest.json')
  if (!existsSync(file)) return undefined
  let manifest: Manifest
  try {
    manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest
  } catch {
    return undefined // a power cut may leave it empty
  }
  const isFresh =
    manifest.compiler === compilerVersion() &&
    manifest.entries.join() === entries.join() &&
    Object.entries(manifest.inputs).every(([path, stamp]) => stampOf(join(root, path)) === stamp) &&
    Object.entries(manifest.sizes).every(
      ([path, size]) => statSync(join(root, path), { throwIfNoEntry: false })?.size === size,
    )
  return isFresh ? manifest : undefined
}

async function build(root: string, folder: string, entries: readonly string[]): Promise<Manifest | undefined> {
  const esbuild = await import('esbuild')
  const startedAt = Date.now()
  try {
    const outdir = join(folder, 'out')
    const result: Compiled = await esbuild.build({
      absWorkingDir: root,
      entryPoints: [...entries],
      outbase: root,
      outdir,
      write: false,
      metafile: true,
      bundle: true,
      splitting: true,
      format: 'esm',
      outExtension: { '.js': '.mjs' },
      chunkNames: 'shared/[name]-[hash]',
      platform: 'node',
      target: 'node20',
      packages: 'external',
      keepNames: false,
      sourcemap: true,
      logLevel: 'silent',
      plugins: [ownPlace],
    })
    const outputs = outputsOf(result.metafile)
    if (outputs === undefined) return undefined
    const content = createHash('sha256')
    for (const file of result.outputFiles) content.update(file.path).update(file.contents)
    const place = join(folder, content.digest('hex').slice(0, 16))
    writeBuild(place, outdir, result)
    const placed = ([from, to]: [string, string]) => [from, slashed(relative(root, join(place, relative(outdir, to))))]
    const inputs = Object.keys(result.metafile.inputs)
    const manifest: Manifest = {
      compiler: compilerVersion(),
      entries,
      inputs: Object.fromEntries(inputs.map((path) => [path, stampOf(join(root, path)) ?? ''])),
      outputs: Object.fromEntries(
        Object.entries(outputs)
          .map(([from, to]) => [from, resolve(root, to)] as [string, string])
          .map(placed),
      ),
      sizes: Object.fromEntries(
        result.outputFiles.map(({ path, contents }) => [
          slashed(relative(root, join(place, relative(outdir, path)))),
          contents.length,
        ]),
      ),
    }
    // A file that changed meanwhile may have gone in as it was before: the next process compiles again.
    const isSettled = inputs.every(
      (path) => (statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0) < startedAt,
    )
    if (isSettled) writeWhole(join(folder, 'manifest.json'), JSON.stringify(manifest))
    forgetOldBuilds(folder, place)
    return manifest
  } finally {
    // The compiler is a process of its own.
    await esbuild.stop()
  }
}

/** Source -> output of each entry; undefined where an entry is imported by another one and so cannot be loaded afresh. */
function outputsOf({ outputs }: Metafile): Record<string, string> | undefined {
  const found: Record<string, string> = {}
  for (const [path, { entryPoint, inputs }] of Object.entries(outputs)) {
    if (entryPoint === undefined) continue
    if (entryPoint.startsWith('routers/') && !(entryPoint in inputs)) return undefined
    found[entryPoint] = path
  }
  return found
}

function writeBuild(place: string, outdir: string, { outputFiles }: Compiled): void {
  const isWhole = outputFiles.every(({ path, contents }) => {
    return statSync(join(place, relative(outdir, path)), { throwIfNoEntry: false })?.size === contents.length
  })
  if (isWhole) return
  rmSync(place, { recursive: true, force: true })
  const half = `${place}.${process.pid}`
  for (const file of outputFiles) {
    const path = join(half, relative(outdir, file.path))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, file.contents)
  }
  try {
    renameSync(half, place)
  } catch (error) {
    rmSync(half, { recursive: true, force: true })
    // Another process was faster, with the same content.
    if (!existsSync(place)) throw error
  }
}

function writeWhole(path: string, text: string): void {
  const half = `${path}.${process.pid}`
  writeFileSync(half, text)
  renameSync(half, path)
}

function forgetOldBuilds(folder: string, current: string): void {
  const builds = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ path: join(folder, name), at: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.at - a.at)
  for (const { path } of builds.slice(KEPT_BUILDS).filter((build) => build.path !== current))
    rmSync(path, { recursive: true, force: true })
}

/** A module that asks where it is means its source: `new URL('..', import.meta.url)` is the application's folder. */
const ownPlace: Plugin = {
  name: 'own place',
  setup(builder) {
    builder.onLoad({ filter: SOURCE }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      if (!text.includes('import.meta.')) return undefined
      const own: Record<string, string> = { url: pathToFileURL(path).href, filename: path, dirname: dirname(path) }
      const contents = text.replace(/\bimport\.meta\.(url|filename|dirname)\b/g, (_, name) => JSON.stringify(own[name]))
      return { contents, loader: extname(path).replace(/^\.[mc]?/, '') as Loader }
    })
  },
}

function stampOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat && `${stat.mtimeMs} ${stat.size}`
}

function compilerVersion(): string {
  const { version } = createRequire(import.meta.url)('esbuild/package.json') as { version: string }
  return version
}

function slashed(path: string): string {
  return path.split(sep).join('/')
}
