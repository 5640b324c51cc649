import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { RunFile } from '../../../core/kernel/run-file.js'
import { buildProduct, REPOSITORY } from './project.js'

const CLI = join(REPOSITORY, 'dist/core/cli/main.js')
/** For a copy of the sources that stands somewhere else. */
const SOURCE_FLAGS = [
  '--conditions=routemq:source',
  '--import',
  join(REPOSITORY, 'node_modules/tsx/dist/esm/index.mjs'),
]
const HANG_GUARD_MS = 180_000
const STOP_GUARD_MS = 90_000

/** The environment of a stranger: nothing of ours but what a test sets. */
function cleanEnvironment(extra: Readonly<Record<string, string>>): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env
  return { PATH, HOME, ...extra }
}

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs one command of the real binary and waits for its end. */
export async function runCommand(
  root: string,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>>; timeoutMs?: number } = {},
): Promise<CommandResult> {
  buildProduct()
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: root,
    env: cleanEnvironment(options.env ?? {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = collect(child)
  const guard = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? HANG_GUARD_MS)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(guard)
  return { code, stdout: output.stdout, stderr: output.stderr }
}

/** A running product: the real binary in a project folder, its ports found in run.json. */
export class Product {
  readonly root: string
  readonly child: ChildProcess
  readonly output: { stdout: string; stderr: string }
  readonly startedAt = performance.now()
  readyAfterMs = 0

  constructor(root: string, child: ChildProcess) {
    this.root = root
    this.child = child
    this.output = collect(child)
  }

  /** Starts `routemq --run`. */
  static spawn(
    root: string,
    options: { env?: Readonly<Record<string, string>>; args?: readonly string[]; cli?: string } = {},
  ): Product {
    buildProduct()
    const { cli = CLI } = options
    const flags = cli.endsWith('.js') ? [] : SOURCE_FLAGS
    const child = spawn(process.execPath, [...flags, cli, '--run', ...(options.args ?? [])], {
      cwd: root,
      env: cleanEnvironment(options.env ?? {}),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return new Product(root, child)
  }

  /** Starts `routemq --run` and resolves when `/ready` answers 200. */
  static async start(root: string, options: Parameters<typeof Product.spawn>[1] = {}): Promise<Product> {
    const product = Product.spawn(root, options)
    await product.untilReady()
    return product
  }

  get run(): RunFile {
    return JSON.parse(readFileSync(join(this.root, '.routemq/run.json'), 'utf8')) as RunFile
  }

  get text(): string {
    return this.output.stdout + this.output.stderr
  }

  async untilReady(): Promise<void> {
    const file = join(this.root, '.routemq/run.json')
    while (performance.now() - this.startedAt < HANG_GUARD_MS) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) break
      if (existsSync(file)) {
        const ready = await this.fetch('/ready').catch(() => undefined)
        if (ready?.status === 200) {
          this.readyAfterMs = performance.now() - this.startedAt
          return
        }
      }
      await pause(20)
    }
    this.child.kill('SIGKILL')
    throw new Error(`the product did not become ready (exit ${this.child.exitCode}):\n${this.text}`)
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const http = this.run.http
    if (http === null) throw new Error('the sidecar is off')
    return fetch(http.url + path, { ...init, headers: { authorization: `Bearer ${http.token}`, ...init.headers } })
  }

  async json(path: string, init?: RequestInit): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await this.fetch(path, init)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  post(path: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
    return this.json(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
  }

  /** SIGTERM, then the exit code; null when it had to be killed. */
  async stop(): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode
    const exited = once(this.child, 'close')
    this.child.kill('SIGTERM')
    const guard = setTimeout(() => this.child.kill('SIGKILL'), STOP_GUARD_MS)
    const [code] = (await exited) as [number | null]
    clearTimeout(guard)
    return code
  }
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  return output
}
