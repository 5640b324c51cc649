import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export { freePort } from '../../../support/free-port.js'

const run = promisify(execFile)
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

export interface Program {
  /** From its "ready" line, else 0. */
  readonly port: number
  stop(): Promise<void>
}

/** Why a program cannot be used, or undefined; a failure where ROUTEMQ_TEST_SERVICES=required. */
export async function missing(name: string, probe: () => Promise<unknown>): Promise<string | undefined> {
  const reason = await probe().then(
    () => undefined,
    (error: Error) => `${name} is missing: ${error.message.split('\n')[0]}`,
  )
  if (reason === undefined) return undefined
  if (process.env.ROUTEMQ_TEST_SERVICES === 'required') throw new Error(reason)
  console.warn(`SKIPPED ${reason}`)
  return reason
}

export const probeMbpoll = () => access('/usr/bin/mbpoll')
export const probePymodbus = () => run('/usr/bin/python3', ['-c', 'import pymodbus, serial_asyncio'])

/** Compiles the libmodbus server once; rejects where compiler or library are missing. */
export async function compileLibmodbusServer(): Promise<{ binary: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-libmodbus-'))
  const binary = join(folder, 'server')
  const { stdout } = await run('pkg-config', ['--cflags', '--libs', 'libmodbus'])
  await run('gcc', ['-o', binary, here('libmodbus-server.c'), ...stdout.trim().split(/\s+/)])
  return { binary, remove: () => rm(folder, { recursive: true, force: true }) }
}

export async function startLibmodbus(binary: string, ...args: string[]): Promise<Program> {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the libmodbus server ended with ${code}`)))
    child.stdout.once('data', (line: Buffer) => resolve(Number(/ready (\d+)/.exec(line.toString())?.[1])))
  })
  return { port, stop: () => stop(child) }
}

/** pymodbus says nothing when it is ready, so the caller tries until it answers. */
export function startPymodbus(...args: string[]): Program {
  const child = spawn('/usr/bin/python3', [here('pymodbus_server.py'), ...args], { stdio: 'ignore' })
  return { port: 0, stop: () => stop(child) }
}

export function mbpoll(...args: string[]): Promise<string> {
  return run('/usr/bin/mbpoll', args, { timeout: 30_000 }).then(({ stdout }) => stdout)
}

export async function eventually<T>(attempt: () => Promise<T>, limitMs = 30_000): Promise<T> {
  const end = performance.now() + limitMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}
