import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { loadMiddleware, loadRouters } from '../../../core/router/discovery.js'
import { RouteMQError } from '../../../core/support/errors.js'

const routerModule = pathToFileURL(join(import.meta.dirname, '../../../core/router/router.ts')).href
const routerFile = (pattern: string) => `
  import { Router } from '${routerModule}'
  const router = new Router()
  router.on('${pattern}', () => {})
  export default router
`

async function folder(t: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'routemq-discovery-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  await writeFile(join(root, 'package.json'), '{ "type": "module" }')
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true })
    await writeFile(join(root, name), text)
  }
  return root
}

test('every router file is loaded, sorted by name, relative to the application', async (t) => {
  const root = await folder(t, {
    'routers/zeta.ts': routerFile('z'),
    'routers/alpha.js': routerFile('a'),
    'routers/plant/line.mts': routerFile('l'),
    'routers/beta.mjs': routerFile('b'),
    'routers/types.d.ts': 'export interface Never {}',
    'routers/alpha.test.ts': 'throw new Error("a test was loaded")',
    'routers/.hidden.ts': 'throw new Error("a hidden file was loaded")',
    'routers/notes.md': 'not code',
  })
  const loaded = await loadRouters(join(root, 'routers'))
  assert.deepEqual(
    loaded.map(({ file }) => file),
    ['routers/alpha.js', 'routers/beta.mjs', 'routers/plant/line.mts', 'routers/zeta.ts'],
  )
  assert.deepEqual(
    loaded.map(({ router }) => router.commit().routes[0]!.pattern),
    ['a', 'b', 'l', 'z'],
  )
})

test('loading again gives new routers, so that one process can commit an application twice', async (t) => {
  const root = await folder(t, { 'routers/a.ts': routerFile('a'), 'middleware/m.ts': 'export default () => () => {}' })
  for (let load = 0; load < 3; load += 1) {
    const [loaded] = await loadRouters(join(root, 'routers'))
    assert.equal(loaded!.router.commit().routes.length, 1)
    assert.deepEqual(Object.keys(await loadMiddleware(join(root, 'middleware'))), ['m'])
  }
})

test('the folder may be another one, deeper in the application', async (t) => {
  const root = await folder(t, { 'src/mqtt/routes/a.ts': routerFile('a') })
  const loaded = await loadRouters(join(root, 'src/mqtt/routes'), root)
  assert.deepEqual(
    loaded.map(({ file }) => file),
    ['src/mqtt/routes/a.ts'],
  )
})

test('files that fail to load or export something else end the start together, each named', async (t) => {
  const root = await folder(t, {
    'routers/a-throws.ts': 'throw new TypeError("no such device file")',
    'routers/b-syntax.ts': 'export default {{{',
    'routers/c-nothing.ts': 'export const router = 1',
    'routers/d-object.ts': 'export default { routes: [] }',
    'routers/e-foreign.ts': 'class Router {}\nexport default new Router()',
    'routers/f-missing.ts': "import './gone.js'\nexport default 1",
    'routers/g-fine.ts': routerFile('fine'),
  })
  await assert.rejects(loadRouters(join(root, 'routers')), (error: unknown) => {
    assert.ok(error instanceof RouteMQError)
    assert.equal(error.code, 'ROUTER_INVALID')
    assert.match(error.message, /6 files cannot be used/)
    assert.match(error.message, /routers\/a-throws\.ts could not be loaded: TypeError: no such device file/)
    assert.match(error.message, /routers\/b-syntax\.ts could not be loaded: /)
    assert.match(error.message, /routers\/c-nothing\.ts has no default export/)
    assert.match(error.message, /routers\/d-object\.ts exports an object \(Object\)/)
    assert.match(error.message, /routers\/e-foreign\.ts exports a Router of another copy of routemq/)
    assert.match(error.message, /routers\/f-missing\.ts could not be loaded: .*gone\.js/)
    assert.doesNotMatch(error.message, /g-fine/)
    assert.ok(error.cause instanceof TypeError)
    return true
  })
})

test('a folder of routers that is not there ends the start', async (t) => {
  const root = await folder(t, {})
  await assert.rejects(loadRouters(join(root, 'routers')), { code: 'ROUTER_INVALID', message: /no folder .*routers/ })
})

test('a middleware has the name of its file; an application may have none', async (t) => {
  const root = await folder(t, {
    'middleware/log.ts': 'export default () => (_: unknown, next: () => unknown) => next()',
    'middleware/auth/jwt.js': 'export default function jwt() { return (_, next) => next() }',
  })
  assert.deepEqual(Object.keys(await loadMiddleware(join(root, 'middleware'))), ['auth/jwt', 'log'])
  assert.deepEqual(await loadMiddleware(join(root, 'nowhere')), {})
})

test('two files of one middleware name, and files that export no function, are refused', async (t) => {
  const root = await folder(t, {
    'middleware/log.ts': 'export default () => () => {}',
    'middleware/log.js': 'export default () => () => {}',
    'middleware/text.ts': 'export default "log"',
  })
  await assert.rejects(loadMiddleware(join(root, 'middleware')), (error: unknown) => {
    assert.ok(error instanceof RouteMQError)
    assert.match(error.message, /middleware\/log\.ts names the middleware "log" as middleware\/log\.js does/)
    assert.match(error.message, /middleware\/text\.ts exports a string as its default/)
    return true
  })
})
