import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'dotenv'
import { SETTINGS, type Setting } from '../../core/config/settings.js'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS)

test('the reference lists every setting: place, names, what it means', () => {
  const page = read('docs/reference/configuration.md')
  const missing = ALL.filter(
    ({ path, names, about }) =>
      !page.includes(`| \`${path}\` | ${names.map((name) => `\`${name}\``).join(', ')} |`) || !page.includes(about),
  )
  assert.deepEqual(
    missing.map(({ path }) => path),
    [],
  )
})

test('.env.example sets nothing, so that a fresh project starts in demo mode', () => {
  assert.deepEqual(parse(read('.env.example')), {})
})

test('.env.example shows only names that exist', () => {
  const known = new Set(ALL.flatMap(({ names }) => names))
  const shown = [...read('.env.example').matchAll(/^# ?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name!)
  assert.ok(shown.length > 20)
  assert.deepEqual(
    shown.filter((name) => !known.has(name)),
    [],
  )
})

test('no two settings share a place or a name', () => {
  const paths = ALL.map(({ path }) => path)
  const names = ALL.flatMap((one) => one.names)
  assert.equal(new Set(paths).size, paths.length)
  assert.equal(new Set(names).size, names.length)
})
