import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { main } from '../../core/cli/program.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...pagesBelow('docs')]

test('every link to a file of the repository leads somewhere', () => {
  const broken = PAGES.flatMap((page) =>
    linksOf(page)
      .filter((target) => !existsSync(resolve(ROOT, dirname(page), target)))
      .map((target) => `${page} -> ${target}`),
  )
  assert.deepEqual(broken, [])
})

test('every page is in the index', () => {
  const listed = new Set(linksOf('docs/README.md').map((target) => join('docs', target)))
  assert.deepEqual(
    pagesBelow('docs').filter((page) => page !== 'docs/README.md' && !listed.has(page)),
    [],
  )
})

test('the reference of the command line names every command, and no other', async () => {
  const said: string[] = []
  await main(['--help'], { out: (text) => void said.push(text), err: () => {} })
  const help = said.join('\n')
  const commands = [...help.slice(help.indexOf('Commands:')).matchAll(/^ {2}([a-z:]+)/gm)].map(([, name]) => name!)
  const page = read('docs/reference/cli.md')
  const table = page.slice(0, page.indexOf('## What they talk to'))
  const documented = [...table.matchAll(/`(?:--)?([a-z]+(?::[a-z]+)?)[ `]/g)].map(([, name]) => name!)
  assert.ok(commands.length > 15)
  assert.deepEqual(
    commands.filter((name) => name !== 'help' && !documented.includes(name)),
    [],
    'documented',
  )
  assert.deepEqual(
    documented.filter((name) => name.includes(':') && !commands.includes(name)),
    [],
    'real',
  )
})

test('the version of the changelog is that of the package', () => {
  const { version } = JSON.parse(read('package.json')) as { version: string }
  assert.match(read('CHANGELOG.md'), new RegExp(`^## ${version.replaceAll('.', '\\.')}\\b`, 'm'))
})

function linksOf(page: string): string[] {
  // Code may hold brackets too; what stands in it is no link.
  const text = read(page).replace(/```.*?```|`[^`\n]*`/gs, '')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target!.split('#')[0]!)
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
}

function pagesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => relative(ROOT, join(ROOT, folder, name)))
    .sort()
}
