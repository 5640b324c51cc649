import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { copyNativeModules, ENVIRONMENT, pack, REPOSITORY, run, shell } from './pack.js'

interface Manifest {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
}
const readManifest = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

const packed = pack()
after(() => packed.remove())
const project = join(packed.folder, 'plant')
mkdirSync(project)

test('the tarball holds what is needed and nothing else', () => {
  const { files } = packed
  for (const path of [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'dist/core/index.js',
    'dist/core/index.d.ts',
    'dist/core/cli/main.js',
    'dist/core/testing/index.js',
    'dist/core/kernel/worker-main.js',
    'bootstrap/app.ts',
    'routers/devices.ts',
    'app/devices.ts',
    'tests/app/devices.test.ts',
    'stubs/gitignore',
    'stubs/tsconfig.json',
    'stubs/router.ts.stub',
    '.env.example',
    'docs/reference/errors.md',
  ]) {
    assert.ok(files.includes(path), path)
  }
  const unwanted = files.filter((path) =>
    /^(core|benchmarks|node_modules|data|\.ci|\.routemq|docker)\/|^tests\/(?!app\/)|^\.env$|\.tgz$|\.db$/.test(path),
  )
  assert.deepEqual(unwanted, [])
})

test('it installs into an empty folder', async () => {
  const { code, output } = await run('npm', ['install', packed.tarball], project)
  assert.equal(code, 0, output)
  copyNativeModules(project)
  const { version } = readManifest(REPOSITORY)
  const said = await shell('npx routemq --version', project)
  assert.deepEqual([said.code, said.output.trim().split('\n').at(-1)], [0, version])
})

test('--init makes a project that depends on the tarball it came from', async () => {
  const { code, output } = await shell('npx routemq --init', project)
  assert.equal(code, 0, output)
  const spec = readManifest(project).dependencies.routemq!
  assert.ok(spec.startsWith('file:') && basename(spec) === basename(packed.tarball), spec)
  const installed = await run('npm', ['install'], project)
  assert.equal(installed.code, 0, installed.output)
  copyNativeModules(project)
  assert.ok(existsSync(join(project, 'node_modules/typescript')))
})

test('the new project type-checks', async () => {
  const { code, output } = await run('npm', ['run', 'check'], project)
  assert.equal(code, 0, output)
})

test('the new project passes its own sample test', async () => {
  const { code, output } = await run('npm', ['test'], project)
  assert.equal(code, 0, output)
  assert.match(output, /^# pass [1-9]\d*$/m)
})

test('its commands work: routes, make, devices', async () => {
  const routes = await shell('npx routemq route:list --json', project)
  assert.equal(routes.code, 0, routes.output)
  assert.match(routes.output, /"topic": "devices\/\{device_id\}\/write"/)
  for (const what of ['router', 'controller', 'middleware', 'migration']) {
    const made = await shell(`npx routemq make:${what} boiler`, project)
    assert.equal(made.code, 0, made.output)
  }
  assert.equal((await shell('npx routemq make:router boiler', project)).code, 5, 'nothing is overwritten')
  const checked = await run('npm', ['run', 'check'], project)
  assert.equal(checked.code, 0, `what make: wrote must type-check:\n${checked.output}`)
  const listed = await shell('npx routemq route:list', project)
  assert.match(listed.output, /boiler\/\{id\}\/status/)
  assert.match((await shell('npx routemq device:list', project)).output, /^office-eng /m)
})

test('it runs: the printed commands work when pasted, and SIGTERM ends it', async () => void (await runs(ENVIRONMENT)))

// What is tested everywhere else runs on the Node.js of this machine; here the others that are supported have their turn.
for (const version of ['20', '22', '24'].filter((major) => major !== process.versions.node.split('.')[0])) {
  test(`it runs on Node.js ${version}`, async (t) => {
    const folder = join(packed.folder, `node-${version}`)
    mkdirSync(folder)
    const name = `node-${process.platform}-${process.arch}`
    const installed = await run('npm', ['install', '--prefix', folder, '--no-save', `${name}@${version}`], folder)
    // A registry that is slow or lacks it says nothing about the product.
    if (installed.code !== 0) {
      console.log(`SKIPPED: Node.js ${version} could not be had from the registry: ${installed.output.slice(-200)}`)
      t.skip('not to be had')
      return
    }
    const env = { ...ENVIRONMENT, PATH: `${join(folder, 'node_modules', name, 'bin')}:${ENVIRONMENT.PATH}` }
    assert.match(execFileSync('node', ['--version'], { env, encoding: 'utf8' }), new RegExp(`^v${version}\\.`))
    // The native module that was built for this machine's Node.js does not load there: node:sqlite takes its place.
    rmSync(join(project, 'data'), { recursive: true, force: true })
    const output = await runs(env)
    assert.match(output, /The database is there/)
  })
}

/** Starts the project, pastes what it printed, and ends it; resolves with all that it said. */
async function runs(env: Readonly<Record<string, string>>): Promise<string> {
  // Its own process group, so that nothing it may leave behind outlives the test.
  const child = spawn('npm', ['start'], {
    cwd: project,
    env: { ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  try {
    const commands = await printedCommands(child, () => output)
    for (const line of commands) {
      const { code, output: said } = await shell(line, project, 180_000, env)
      assert.equal(code, 0, `${line}\n${said}`)
    }
    const exited = once(child, 'close')
    child.kill('SIGTERM')
    const guard = setTimeout(() => killGroup(child), 120_000)
    assert.deepEqual(await exited, [0, null], output)
    clearTimeout(guard)
  } finally {
    killGroup(child)
  }
  const again = await shell('npx routemq worker:list', project)
  assert.equal(again.code, 4, 'nothing runs any more')
  return output
}

function killGroup(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGKILL')
  } catch {
    // Nobody of the group is left, as it should be.
  }
}

async function printedCommands(child: ChildProcess, output: () => string): Promise<string[]> {
  for (let waited = 0; waited < 180_000 && child.exitCode === null; waited += 50) {
    const [, tail] = output().split('Try next, in another terminal:\n')
    const lines = tail?.split('\n').filter((line) => line.startsWith('    ')) ?? []
    if (lines.length >= 3) return lines.map((line) => line.trim())
    await pause(50)
  }
  throw new Error(`not ready (exit ${child.exitCode}):\n${output()}`)
}
