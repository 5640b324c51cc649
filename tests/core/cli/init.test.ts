import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { installSpec } from '../../../core/cli/install-spec.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, string>>

test('a new project has the default application, file by file', async (t) => {
  const root = folder(t)
  const { code, out } = await command(root, ['--init', 'plant'])
  assert.equal(code, 0, out)
  for (const path of ['bootstrap/app.ts', 'app/devices.ts', 'routers/devices.ts', 'controllers/device-controller.ts']) {
    assert.equal(readFileSync(join(root, 'plant', path), 'utf8'), readFileSync(join(REPOSITORY, path), 'utf8'), path)
    assert.match(out, new RegExp(`^created  ${path}$`, 'm'))
  }
  assert.match(readFileSync(join(root, 'plant/.gitignore'), 'utf8'), /^\.env$/m)
  assert.equal(statSync(join(root, 'plant/.env')).mode & 0o777, 0o600)
  const manifest = json(join(root, 'plant/package.json'))
  assert.equal(manifest.type, 'module')
  assert.equal(manifest.name, 'plant')
  assert.deepEqual(manifest.scripts, { start: 'exec routemq --run', test: 'routemq test', check: 'tsc' })
  assert.equal(manifest.dependencies!.routemq, `file:${REPOSITORY}`)
  assert.ok(manifest.dependencies!.zod !== undefined && manifest.devDependencies!.typescript !== undefined)
  assert.match(out, /Next:\n {2}cd plant\n {2}npm install\n {2}npm start$/)
})

test('a second --init changes nothing and says so', async (t) => {
  const root = folder(t)
  await command(root, ['init'])
  const { code, out } = await command(root, ['init', '--json'])
  assert.equal(code, 0)
  const { files } = JSON.parse(out) as { files: { action: string; note?: string }[] }
  assert.ok(files.length > 8)
  assert.deepEqual(
    files.filter((file) => file.action !== 'kept' || file.note !== undefined),
    [],
  )
})

test('what is there already is kept, byte for byte', async (t) => {
  const mine = { '.env': 'MQTT_BROKER=mine\n', 'routers/devices.ts': '// mine\n', 'tsconfig.json': '{}\n' }
  const root = folder(t, mine)
  const { code, out } = await command(root, ['init'])
  assert.equal(code, 0)
  for (const [path, text] of Object.entries(mine)) {
    assert.equal(readFileSync(join(root, path), 'utf8'), text)
    assert.match(out, new RegExp(`^kept +${path.replaceAll('.', '\\.')} +\\(yours differs\\)$`, 'm'))
  }
})

test('an existing package.json is completed: scripts, dependencies and layout of the owner stay', async (t) => {
  const before = {
    name: 'mine',
    scripts: { start: 'node mine.js', build: 'make' },
    dependencies: { zod: '1.2.3', left: '1' },
    devDependencies: { typescript: '5.9.0' },
  }
  const root = folder(t, { 'package.json': `${JSON.stringify(before, null, 4)}\n` })
  const { code, out } = await command(root, ['init'])
  assert.equal(code, 0)
  assert.match(out, /^merged +package\.json +\(your scripts start stay\)$/m)
  const text = readFileSync(join(root, 'package.json'), 'utf8')
  assert.match(text, /^ {4}"name": "mine",$/m)
  const after = JSON.parse(text) as Record<string, Record<string, string>>
  assert.deepEqual(after.scripts, { start: 'node mine.js', build: 'make', test: 'routemq test', check: 'tsc' })
  assert.deepEqual(Object.keys(after.dependencies!), ['left', 'routemq', 'zod'])
  assert.equal(after.dependencies!.zod, '1.2.3')
  assert.equal(after.devDependencies!.typescript, '5.9.0')
})

test('the package.json that `npm init` writes is taken over, its placeholders replaced', async (t) => {
  const npm = { name: 'x', type: 'commonjs', scripts: { test: 'echo "Error: no test specified" && exit 1' } }
  const root = folder(t, { 'package.json': JSON.stringify(npm) })
  const { code, out } = await command(root, ['init'])
  assert.equal(code, 0)
  assert.match(out, /^merged +package\.json +\("type" was "commonjs" and is "module" now\)$/m)
  const after = json(join(root, 'package.json'))
  assert.deepEqual([after.type, after.scripts!.test], ['module', 'routemq test'])
})

test('a CommonJS project with files of its own is refused before anything is copied', async (t) => {
  const root = folder(t, { 'package.json': '{"type": "commonjs"}', 'index.js': 'module.exports = 1\n' })
  const { code, err } = await command(root, ['init'])
  assert.equal(code, EXIT.refused)
  assert.match(err, /SCAFFOLD_CONFLICT: .*index\.js may rely on it/)
  assert.ok(!existsSync(join(root, 'routers')))
})

for (const [what, text] of [
  ['broken', '{"name": '],
  ['no object', '[]'],
] as const) {
  test(`a package.json that is ${what} is refused and stays`, async (t) => {
    const root = folder(t, { 'package.json': text })
    const { code, err } = await command(root, ['init'])
    assert.equal(code, EXIT.refused)
    assert.match(err, /SCAFFOLD_CONFLICT: .*package\.json/)
    assert.equal(readFileSync(join(root, 'package.json'), 'utf8'), text)
  })
}

test('a file in the place of a folder is a conflict that is named', async (t) => {
  const root = folder(t, { routers: 'a file' })
  const { code, err } = await command(root, ['init'])
  assert.equal(code, EXIT.refused)
  assert.match(err, /SCAFFOLD_CONFLICT: routers is there and is no folder/)
  assert.deepEqual(readdirSync(root), ['routers'])
})

test('the spec a project was installed from is found', (t) => {
  const root = folder(t)
  const installed = join(root, 'project/node_modules/routemq')
  mkdirSync(installed, { recursive: true })
  const target = join(root, 'project')
  const lock = (entry: object | undefined) =>
    writeFileSync(
      join(target, 'node_modules/.package-lock.json'),
      JSON.stringify({ packages: entry === undefined ? {} : { 'node_modules/routemq': entry } }),
    )
  const spec = (entry: object | undefined, to = target) => {
    lock(entry)
    return installSpec('routemq', '1.2.3', to, installed)
  }
  assert.equal(spec({ resolved: 'file:../routemq-1.2.3.tgz' }), `file:${root}/routemq-1.2.3.tgz`)
  assert.equal(spec({ resolved: 'file:vendor/routemq-1.2.3.tgz' }), 'file:vendor/routemq-1.2.3.tgz')
  assert.equal(spec({ resolved: 'file:vendor/r.tgz' }, join(target, 'below')), `file:${target}/vendor/r.tgz`)
  assert.equal(spec({ resolved: '../checkout', link: true }), `file:${root}/checkout`)
  assert.equal(spec({ resolved: 'git+ssh://git@host/x/routemq.git#abc' }), 'git+ssh://git@host/x/routemq.git#abc')
  assert.equal(spec({ resolved: 'https://host/x/routemq-1.2.3.tgz' }), 'https://host/x/routemq-1.2.3.tgz')
  assert.equal(spec({ resolved: 'https://host/routemq/-/routemq-1.2.3.tgz' }), '1.2.3')
  assert.equal(spec({}), '1.2.3')
  assert.equal(spec(undefined), '1.2.3')
  writeFileSync(join(target, 'package.json'), '{"dependencies": {"routemq": "file:../r.tgz"}}')
  assert.equal(spec(undefined), `file:${root}/r.tgz`)
  assert.equal(installSpec('routemq', '1.2.3', target, root), `file:${root}`)
})
