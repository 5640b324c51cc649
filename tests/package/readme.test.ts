import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { copyCheckout } from '../e2e/support/project.js'
import { ENVIRONMENT, REPOSITORY, shell } from './pack.js'

/** The `sh` blocks below each heading of the README, a line a command. */
function commandsOf(heading: string): string[] {
  const readme = readFileSync(join(REPOSITORY, 'README.md'), 'utf8')
  const section = readme.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
  assert.ok(section !== undefined, heading)
  return [...section.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block]) => block!.trim().split('\n'))
}

const CI = readFileSync(join(REPOSITORY, '.ci/run'), 'utf8')

test('the quick start is two commands, then three; the three work while the second runs', async () => {
  const [first, second, ...next] = commandsOf('Quick start')
  assert.deepEqual([first, second, next.length], ['npm ci', 'npm start', 3])
  assert.match(CI, /^step 'npm ci' npm ci$/m)
  const checkout = copyCheckout()
  const child = spawn('sh', ['-c', second!], { cwd: checkout, env: { ...ENVIRONMENT }, detached: true })
  try {
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    for (let waited = 0; !output.includes('Try next') && waited < 180_000; waited += 50) {
      assert.equal(child.exitCode, null, output)
      await pause(50)
    }
    const said = []
    for (const command of next) {
      const { code, output: text } = await shell(command, checkout, 180_000)
      assert.equal(code, 0, `${command}\n${text}`)
      said.push(text)
    }
    assert.match(said[0]!, /^modbus\/data\/office-eng\//m)
    assert.match(said[1]!, /"status":\s*"ok"/)
    assert.match(said[2]!, /holding 10 \(40011\) +42 /)
  } finally {
    process.kill(-child.pid!, 'SIGKILL')
    rmSync(checkout, { recursive: true, force: true })
  }
})

test('the commands for a project of your own are those that the packed-package test runs', () => {
  const source = readFileSync(new URL('packed-package.test.ts', import.meta.url), 'utf8')
  const [pack, install, init, ...rest] = commandsOf('A project of your own')
  assert.equal(pack, 'npm pack')
  const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as { version: string }
  assert.equal(install, `npm install ../routemq/routemq-${version}.tgz`)
  assert.match(source, /run\('npm', \['install', packed\.tarball\], project\)/)
  assert.ok(source.includes(`shell('${init}', project)`), init)
  assert.deepEqual(rest, ['npm install', 'npm run check', 'npm test', 'npm start'])
  for (const command of rest) {
    const words = command.split(' ').slice(1)
    assert.ok(source.includes(`'npm', [${words.map((word) => `'${word}'`).join(', ')}]`), command)
  }
})

test('the commands of development are those that CI runs', () => {
  for (const command of commandsOf('Development'))
    assert.match(CI, new RegExp(`^step '.*' (tests \\d+ )?${command}$`, 'm'))
})

test('no other heading holds commands that nobody runs', () => {
  const readme = readFileSync(join(REPOSITORY, 'README.md'), 'utf8')
  const known = ['Quick start', 'A project of your own', 'Development'].flatMap(commandsOf)
  const all = [...readme.matchAll(/```(?:sh|bash|console|shell)\n(.*?)```/gs)].flatMap(([, b]) => b!.trim().split('\n'))
  assert.deepEqual(all, known)
})
