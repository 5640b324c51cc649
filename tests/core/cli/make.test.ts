import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { nameForms } from '../../../core/cli/make-file.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

for (const [kind, name, path, content] of [
  ['router', 'BoilerRoom', 'routers/boiler-room.ts', /prefix: 'boiler-room'/],
  ['router', 'boiler-router', 'routers/boiler.ts', /prefix: 'boiler'/],
  ['controller', 'boiler_room', 'controllers/boiler-room-controller.ts', /class BoilerRoomController/],
  ['controller', 'BoilerController', 'controllers/boiler-controller.ts', /class BoilerController/],
  ['middleware', 'only-local', 'middleware/only-local.ts', /export default function onlyLocal\(\)/],
] as const) {
  test(`make:${kind} ${name} makes ${path}`, async (t) => {
    const root = folder(t)
    const { code, out } = await command(root, [`make:${kind}`, name])
    assert.equal(code, 0)
    assert.match(out, new RegExp(`^created ${path}\n`))
    const text = readFileSync(join(root, path), 'utf8')
    assert.match(text, content)
    assert.ok(!text.includes('{{'))
  })
}

test('nothing is overwritten', async (t) => {
  const root = folder(t, { 'routers/boiler.ts': '// mine' })
  const { code, err } = await command(root, ['make:router', 'boiler'])
  assert.equal(code, EXIT.refused)
  assert.match(err, /SCAFFOLD_CONFLICT: routers\/boiler\.ts is there already/)
  assert.equal(readFileSync(join(root, 'routers/boiler.ts'), 'utf8'), '// mine')
})

test('a second migration of one name is refused: it would make the same table', async (t) => {
  const root = folder(t, { 'migrations/20260101000000-boiler-log.ts': '// mine' })
  const { code, err } = await command(root, ['make:migration', 'BoilerLog'])
  assert.equal(code, EXIT.refused)
  assert.match(err, /SCAFFOLD_CONFLICT: migrations\/20260101000000-boiler-log\.ts is there already/)
  assert.deepEqual(readdirSync(join(root, 'migrations')), ['20260101000000-boiler-log.ts'])
  assert.equal((await command(root, ['make:migration', 'boiler-log-unit'])).code, 0)
  assert.equal((await command(root, ['make:migration', 'log'])).code, 0)
})

test('a name cannot leave its folder', () => {
  for (const name of ['../../etc/passwd', '../..', 'a/b', 'a\\b'])
    assert.throws(() => nameForms(name), { code: 'USAGE' })
})
