import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { compileApp } from '../../../core/config/compile-app.js'

const run = promisify(execFile)
const COMPILER = new URL('../../../core/config/compile-app.ts', import.meta.url).href

test('compiles what is imported by path; modules that two of them share stay one module', async (t) => {
  const root = application(t, {
    'routers/a.ts': `import { count } from '../app/counter.js'\nexport default () => count()`,
    'middleware/b.ts': `import { count } from '../app/counter.js'\nexport default (): number => count()`,
    'app/counter.ts': `let n = 0\nexport const count = (): number => (n += 1)\nexport default count`,
  })
  const outputs = await compileApp(root)
  const load = async (file: string) => (await import(pathToFileURL(outputs!.get(join(root, file))!).href)).default
  const [a, b, counter] = await Promise.all(['routers/a.ts', 'middleware/b.ts', 'app/counter.ts'].map(load))
  assert.deepEqual([a(), b(), counter()], [1, 2, 3])
})

test('a module that asks where it is gets the place of its source', async (t) => {
  const root = application(t, {
    'bootstrap/app.ts': `export default [new URL('..', import.meta.url).href, import.meta.filename, import.meta.dirname]`,
  })
  const outputs = await compileApp(root)
  const { default: places } = await import(pathToFileURL(outputs!.get(join(root, 'bootstrap/app.ts'))!).href)
  assert.deepEqual(places, [pathToFileURL(`${root}/`).href, join(root, 'bootstrap/app.ts'), join(root, 'bootstrap')])
})

test('compiles again when a file changes, one is added or one goes, and not otherwise', async (t) => {
  const root = application(t, {
    'routers/a.ts': `import { word } from '../app/word.js'\nexport default word`,
    'app/word.ts': `export const word: string = 'one'`,
  })
  const word = async () => {
    const outputs = await compileApp(root)
    const file = outputs!.get(join(root, 'routers/a.ts'))!
    return { word: (await import(pathToFileURL(file).href)).default as string, file, count: outputs!.size }
  }
  const first = await word()
  assert.deepEqual(await word(), first)
  writeFileSync(join(root, 'app/word.ts'), `export const word: string = 'two'`)
  utimesSync(join(root, 'app/word.ts'), 1, 1)
  const second = await word()
  assert.equal(second.word, 'two')
  assert.notEqual(second.file, first.file)
  writeFileSync(join(root, 'routers/b.ts'), 'export default 1')
  assert.equal((await word()).count, 3)
  rmSync(join(root, 'routers/b.ts'))
  assert.equal((await word()).count, 2)
  for (let n = 0; n < 5; n += 1) {
    writeFileSync(join(root, 'app/word.ts'), `export const word: string = 'build ${n}'`)
    assert.equal((await word()).word, `build ${n}`)
  }
  const builds = readdirSync(join(root, '.routemq/build'), { withFileTypes: true }).filter((one) => one.isDirectory())
  assert.equal(builds.length, 3, 'old builds are forgotten')
})

test('what a power cut left half is made again', async (t) => {
  const root = application(t, { 'routers/a.ts': 'export default 1 as number' })
  const file = (await compileApp(root))!.get(join(root, 'routers/a.ts'))!
  for (const damaged of [file, join(root, '.routemq/build/manifest.json')]) {
    writeFileSync(damaged, '')
    const again = (await compileApp(root))!.get(join(root, 'routers/a.ts'))!
    assert.equal((await import(pathToFileURL(again).href)).default, 1, damaged)
  }
})

test('several processes at once end with one build', async (t) => {
  const root = application(t, { 'routers/a.ts': 'export default 1 as number' })
  const script = `import { compileApp } from ${JSON.stringify(COMPILER)}
    console.log(JSON.stringify([...(await compileApp(${JSON.stringify(root)}))]))`
  const compile = () => run(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script])
  const [one, ...others] = await Promise.all([compile(), compile(), compile()])
  assert.match(one!.stdout, /a\.mjs/)
  for (const other of others) assert.equal(other.stdout, one!.stdout)
  const left = readdirSync(join(root, '.routemq/build'))
  assert.deepEqual([left.length, left.includes('manifest.json')], [2, true], left.join())
})

test('leaves to the loader what cannot be compiled: mistakes, and routers that import routers', async (t) => {
  assert.equal(await compileApp(application(t, { 'routers/a.ts': 'export default (' })), undefined)
  assert.equal(await compileApp(application(t, { 'routers/a.ts': `export * from './none.js'` })), undefined)
  const nested = application(t, {
    'routers/a.ts': `import b from './b.js'\nexport default [b]`,
    'routers/b.ts': 'export default {}',
  })
  assert.equal(await compileApp(nested), undefined)
  const files: Record<string, string> = { 'routers/a.ts': 'export default 1', '.routemq': 'a file, no folder' }
  assert.equal(await compileApp(application(t, files)), undefined)
})

test('an application of JavaScript needs nothing', async (t) => {
  const root = application(t, { 'routers/a.js': 'export default 1' })
  assert.equal((await compileApp(root))!.size, 0)
})

function application(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'routemq-compile-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  symlinkSync(fileURLToPath(new URL('../../../node_modules', import.meta.url)), join(root, 'node_modules'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  return root
}
