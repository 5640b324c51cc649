import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { RunFile } from '../../core/kernel/run-file.js'
import { copyCheckout } from './support/project.js'

const DEFAULT_PORTS = [1883, 5020, 8000]
const HANG_GUARD_MS = 120_000

test('npm start in a checkout: ready, the printed commands work when pasted, SIGTERM ends it cleanly', async () => {
  await startPasteStop([])
})

test('npm start with ports 1883, 5020 and 8000 taken: moves, says so, and works the same', async () => {
  const blockers = await Promise.all(DEFAULT_PORTS.map(occupy))
  try {
    // One that another test has just now may become free while the product starts; it proves nothing.
    await startPasteStop(DEFAULT_PORTS.filter((_, index) => blockers[index] !== undefined))
  } finally {
    for (const blocker of blockers) blocker?.close()
  }
})

async function startPasteStop(taken: readonly number[]): Promise<void> {
  const checkout = copyCheckout()
  // Its own process group, so that whatever it leaves behind can be found.
  const child = spawn('npm', ['start'], {
    cwd: checkout,
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const startedAt = performance.now()
  try {
    const run = await untilReady(checkout, child, () => output)
    console.log(`npm start to ready: ${((performance.now() - startedAt) / 1000).toFixed(2)} s`)
    reportMemory(child.pid!)
    assert.equal(run.mode, 'demo')
    const ports = [new URL(run.broker.url).port, String(run.device?.port), new URL(run.http!.url).port].map(Number)
    for (const port of taken) {
      assert.ok(!ports.includes(port), `port ${port} is taken by this test`)
      assert.match(output, new RegExp(`port ${port} is taken`), 'the move is said plainly')
    }
    const commands = printedCommands(output)
    assert.equal(commands.length, 3, `three commands to try:\n${output}`)
    for (const command of commands) {
      const result = await shell(command, checkout)
      assert.equal(result.code, 0, `${command}\n${result.output}`)
      assert.ok(result.output.trim().length > 0, `${command} prints something`)
    }
    assert.ok((await shell(commands[2]!, checkout)).output.includes('42'), 'the write is read back')
    const exited = once(child, 'close')
    const stoppedAt = performance.now()
    child.kill('SIGTERM')
    const guard = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), HANG_GUARD_MS)
    const [code, signal] = (await exited) as [number | null, string | null]
    clearTimeout(guard)
    console.log(`SIGTERM to exit: ${((performance.now() - stoppedAt) / 1000).toFixed(2)} s`)
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, output)
    assert.deepEqual(await remaining(child.pid!), [], 'no process is left')
    assert.equal(existsSync(join(checkout, '.routemq/run.json')), false, 'run.json is gone')
  } finally {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // Already gone, as it should be.
    }
    rmSync(checkout, { recursive: true, force: true })
  }
}

async function untilReady(root: string, child: ChildProcess, output: () => string): Promise<RunFile> {
  const startedAt = performance.now()
  while (performance.now() - startedAt < HANG_GUARD_MS && child.exitCode === null) {
    const file = join(root, '.routemq/run.json')
    if (existsSync(file)) {
      const run = JSON.parse(readFileSync(file, 'utf8')) as RunFile
      const ready = await fetch(`${run.http!.url}/ready`).catch(() => undefined)
      // The report follows readiness within the same turn; wait until its last line is there.
      if (ready?.status === 200 && printedCommands(output()).length === 3) return run
    }
    await pause(20)
  }
  throw new Error(`not ready (exit ${child.exitCode}):\n${output()}`)
}

function printedCommands(output: string): string[] {
  const [, after = ''] = output.split('Try next, in another terminal:\n')
  return after
    .split('\n')
    .slice(0, 3)
    .filter((line) => line.startsWith('    '))
    .map((line) => line.trim())
}

async function shell(command: string, cwd: string): Promise<{ code: number | null; output: string }> {
  const child = spawn('sh', ['-c', command], {
    cwd,
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const guard = setTimeout(() => child.kill('SIGKILL'), HANG_GUARD_MS)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(guard)
  return { code, output }
}

/** Listens on a port; undefined where somebody else keeps it for longer than another test would. */
async function occupy(port: number): Promise<Server | undefined> {
  for (let tries = 0; tries < 100; tries += 1) {
    const server = createServer()
    const listening = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (listening) return server
    await pause(100)
  }
  console.log(`port ${port} is taken by somebody else and is not looked at`)
  return undefined
}

/** Processes of a group that still run; a moment is given to those that are ending, zombies do not count. */
async function remaining(group: number): Promise<string[]> {
  let rows: string[] = []
  for (let look = 0; look < 400; look += 1) {
    const all = execFileSync('ps', ['-eo', 'pgid=,stat=,args='], { encoding: 'utf8' }).split('\n')
    rows = all.filter((row) => {
      const [pgid, state = ''] = row.trim().split(/\s+/)
      return Number(pgid) === group && !state.startsWith('Z')
    })
    if (rows.length === 0) break
    await pause(50)
  }
  return rows
}

function reportMemory(group: number): void {
  const rows = execFileSync('ps', ['-o', 'rss=,args=', '-g', String(group)], { encoding: 'utf8' })
    .trim()
    .split('\n')
  for (const row of rows.filter((line) => line.includes('core/'))) {
    const [, kilobytes = '0', args = ''] = /^\s*(\d+)\s+(.*)$/.exec(row) ?? []
    console.log(`idle memory: ${Math.round(Number(kilobytes) / 1024)} MB  ${args.slice(-60)}`)
  }
}
