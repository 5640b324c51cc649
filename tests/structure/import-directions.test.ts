import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Each folder may import what stands before it, and itself. Types may be imported from anywhere. */
const ORDER = [
  'support',
  'spool',
  'pipeline',
  'config',
  'observability',
  'router',
  'mqtt',
  'modbus',
  'poller',
  'database',
  'delivery',
  'workers',
  'http',
  'kernel',
  'cli',
]
const APPLICATION = ['app', 'bootstrap', 'routers', 'controllers', 'middleware', 'migrations']

interface Import {
  readonly file: string
  readonly from: string
}

test('folders of core import downwards only', () => {
  const wrong = importsBelow('core').flatMap(({ file, from }) => {
    const target = targetOf(file, from)
    const [own, other] = [folderOf(file), target === undefined ? undefined : folderOf(target)]
    if (own === undefined || other === undefined || own === other || own === 'testing') return []
    if (other === 'testing') return [`${file} imports ${from}: nothing of the product may need core/testing`]
    return ORDER.indexOf(other) < ORDER.indexOf(own) ? [] : [`${file} imports ${from}: ${own} stands below ${other}`]
  })
  assert.deepEqual(wrong, [])
})

test('every folder of core has its place in the order', () => {
  const folders = readdirSync(join(ROOT, 'core'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'testing')
    .map(({ name }) => name)
  assert.deepEqual(
    folders.filter((name) => !ORDER.includes(name)),
    [],
  )
})

test('core never imports routemq by name, nor files of an application', () => {
  const wrong = importsBelow('core').filter(({ file, from }) => {
    if (from === 'routemq' || from.startsWith('routemq/')) return true
    const target = targetOf(file, from)
    return target !== undefined && !target.startsWith(`core${sep}`) && target !== 'package.json'
  })
  assert.deepEqual(wrong, [])
})

test('support and spool import nothing but node: and support', () => {
  const wrong = importsBelow('core')
    .filter(({ file }) => ['support', 'spool'].includes(folderOf(file) ?? ''))
    .filter(({ from }) => !from.startsWith('node:') && !from.startsWith('.'))
  assert.deepEqual(wrong, [])
})

test('application code imports routemq by name, never a path into core', () => {
  const wrong = APPLICATION.flatMap(importsBelow).filter(({ file, from }) => {
    return targetOf(file, from)?.startsWith(`core${sep}`) === true
  })
  assert.deepEqual(wrong, [])
})

test('the check sees every form of import that loads a module', () => {
  const text = [
    "import a from 'one'",
    "import {\n  b,\n  type C,\n} from 'two'",
    "export { d } from 'three'",
    "export * from 'four'",
    "import 'five'",
    "const e = await import('six')",
    "import type { F } from 'not-this'",
    "export type { G } from 'nor-this'",
  ].join('\n')
  assert.deepEqual(specifiers(text), ['one', 'two', 'three', 'four', 'five', 'six'])
})

function specifiers(text: string): string[] {
  const statement =
    /^\s*(?:import|export)\s(?!type\s)(?:[^'"`;]*?\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm
  return [...text.matchAll(statement)].map((found) => (found[1] ?? found[2])!)
}

/** Imports of values: those that begin with `import type` or `export type` are left out. */
function importsBelow(folder: string): Import[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => {
      const file = join(folder, name)
      const text = readFileSync(join(ROOT, file), 'utf8')
      return specifiers(text).map((from) => ({ file, from }))
    })
}

function targetOf(file: string, from: string): string | undefined {
  return from.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(file), from)) : undefined
}

function folderOf(file: string): string | undefined {
  const [top, folder, rest] = file.split(sep)
  return top === 'core' && rest !== undefined ? folder : undefined
}
