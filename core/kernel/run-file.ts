import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { replaceFile } from '../support/durable-file.js'
import { RouteMQError } from '../support/errors.js'
import { processMark } from '../support/process-start.js'

/** What runs where, for commands and scripts: `.routemq/run.json`, readable by its owner only because of the token. */
export interface RunFile {
  readonly pid: number
  /** Which of all processes that ever had this number it is, where the system tells; written with the file. */
  readonly process?: string
  readonly version: string
  readonly mode: 'demo' | 'normal'
  /** ISO 8601 UTC. */
  readonly started_at: string
  readonly broker: { readonly url: string; readonly embedded: boolean }
  readonly http: { readonly url: string; readonly token: string } | null
  /** Where it keeps things, without secrets; not there without a database. */
  readonly database?: string
  readonly device: { readonly host: string; readonly port: number } | null
}

export function runFilePath(runDir: string): string {
  return join(runDir, 'run.json')
}

export function writeRunFile(runDir: string, run: RunFile): void {
  replaceFile(runFilePath(runDir), `${JSON.stringify({ ...run, process: processMark(run.pid) }, null, 2)}\n`)
}

export interface KeepRunFileOptions {
  readonly logger: Logger
  readonly clock: Clock
  /** Milliseconds between two attempts. @default 5,000 */
  readonly retryMs?: number
}

/**
 * Writes it, and where the disk refuses, tries again until it is written: without it commands do not find the product,
 * which is no reason not to run. Returns how to remove it.
 */
export function keepRunFile(runDir: string, run: RunFile, options: KeepRunFileOptions): () => void {
  const { logger, clock, retryMs = 5_000 } = options
  let isRefused = false
  let cancel = () => {}
  const write = () => {
    try {
      writeRunFile(runDir, run)
      if (isRefused) logger.info({}, 'commands find the product now')
    } catch (error) {
      const reason = (error as Error).message
      if (!isRefused) logger.warn({ reason }, 'commands do not find the product: run.json cannot be written')
      isRefused = true
      cancel = clock.after(retryMs, write, { unref: true })
    }
  }
  write()
  return () => {
    cancel()
    removeRunFile(runDir)
  }
}

/**
 * The running product, or undefined where none runs: no file, or a file whose process is gone.
 *
 * @throws RUN_FILE_UNREADABLE where there is a file that cannot be read, as that of another user: a product may run.
 */
export function readRunFile(runDir: string): RunFile | undefined {
  const path = runFilePath(runDir)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new RouteMQError('RUN_FILE_UNREADABLE', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  let run: RunFile
  try {
    run = JSON.parse(text) as RunFile
  } catch {
    return undefined // It is renamed into place when it is whole: this was cut off with the power.
  }
  return isAlive(run) ? run : undefined
}

export function removeRunFile(runDir: string): void {
  rmSync(runFilePath(runDir), { force: true })
}

/** After a loss of power the file is still there, and its number may be that of a stranger. */
function isAlive(run: RunFile): boolean {
  try {
    process.kill(run.pid, 0)
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const mark = processMark(run.pid)
  return mark !== 'gone' && (mark === undefined || run.process === undefined || mark === run.process)
}
