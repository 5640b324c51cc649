import { execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** How this machine gets to the registry: a certificate authority or a proxy of its own. */
const NETWORK = [
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
]

/** npm without what this run of npm put into the environment, so that it behaves as in a stranger's shell. */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: process.env.PATH ?? '',
  HOME: process.env.HOME ?? '',
  ...Object.fromEntries(
    NETWORK.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  ),
  // The native modules are not built again: those of this checkout are copied, see `copyNativeModules`.
  npm_config_ignore_scripts: 'true',
  npm_config_audit: 'false',
  npm_config_fund: 'false',
}

export interface Result {
  readonly code: number | null
  readonly output: string
}

/** Runs a program to its end; `output` is what it printed, on both streams, in order. */
export async function run(command: string, args: readonly string[], cwd: string, limitMs = 180_000): Promise<Result> {
  return collect(spawn(command, args, options(cwd)), limitMs)
}

export async function shell(line: string, cwd: string, limitMs = 180_000, env = ENVIRONMENT): Promise<Result> {
  return collect(spawn('sh', ['-c', line], { ...options(cwd), env: { ...env } }), limitMs)
}

function options(cwd: string): SpawnOptions {
  return { cwd, env: { ...ENVIRONMENT }, stdio: ['ignore', 'pipe', 'pipe'] }
}

async function collect(child: ReturnType<typeof spawn>, limitMs: number): Promise<Result> {
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const guard = setTimeout(() => child.kill('SIGKILL'), limitMs)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(guard)
  return { code, output }
}

/** A folder for this run and the tarball of the package in it, built from the sources as they are. */
export function pack(): { folder: string; tarball: string; files: readonly string[]; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'routemq-package-'))
  // prepack builds; ignoring scripts would pack what an earlier build left.
  const env = { ...ENVIRONMENT, npm_config_ignore_scripts: 'false' }
  const printed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: REPOSITORY,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  // Scripts print before the JSON.
  const [packed] = Object.values(JSON.parse(printed.slice(printed.search(/^[[{]/m))) as Packed[])
  if (packed === undefined) throw new Error(`npm pack said: ${printed}`)
  return {
    folder,
    tarball: join(folder, packed.filename),
    files: packed.files.map(({ path }) => path),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

const NATIVE = ['better-sqlite3/build/Release/better_sqlite3.node']

/** Installs ran without scripts: the native module of this checkout is taken, as a prebuilt one would be. */
export function copyNativeModules(project: string): void {
  for (const path of NATIVE) {
    const from = join(REPOSITORY, 'node_modules', path)
    const to = join(project, 'node_modules', path)
    if (!existsSync(from)) throw new Error(`${from} is missing: run npm ci with scripts first`)
    mkdirSync(dirname(to), { recursive: true })
    cpSync(from, to)
    console.log(`native module not built again: copied ${path}`)
  }
}
