import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { replaceFile, writeDurably } from '../../../core/support/durable-file.js'
import { folder } from './folder.js'

const ways = {
  writeDurably,
  replaceFile: async (file: string, text: string) => replaceFile(file, text),
  'replaceFile with sync': async (file: string, text: string) => replaceFile(file, text, { sync: true }),
}

for (const [name, write] of Object.entries(ways)) {
  test(`${name}: the new text stands alone, for nobody else to read`, async (t) => {
    const root = folder(t)
    const file = join(root, 'kept.json')
    await write(file, 'old')
    await write(file, 'new')
    assert.equal(readFileSync(file, 'utf8'), 'new')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(root), ['kept.json'])
  })

  test(`${name}: where it cannot be put in place nothing is left beside it`, async (t) => {
    const root = folder(t)
    mkdirSync(join(root, 'kept.json', 'in-the-way'), { recursive: true })
    await assert.rejects(write(join(root, 'kept.json'), 'new'))
    assert.deepEqual(readdirSync(root), ['kept.json'])
  })
}

test('replaceFile makes the folder', (t) => {
  const file = join(folder(t), 'a', 'b', 'kept.json')
  replaceFile(file, 'x')
  assert.equal(readFileSync(file, 'utf8'), 'x')
})
