import { resolve } from 'node:path'

/** What a command may use of the world around it; tests hand in their own. */
export interface CliContext {
  /** Folder of the application: `--root`, else the folder the command runs in. Absolute. */
  readonly root: string
  readonly env: NodeJS.ProcessEnv
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** A person reads stdout: colour, progress and pretty output are welcome. */
  readonly terminal: boolean
  /** Aborts at SIGINT and SIGTERM: what waits for the world must end then. */
  readonly signal: AbortSignal
}

/** The real world. Colour and the like only at a terminal, and not where NO_COLOR asks for none (no-color.org). */
export function systemContext(root: string, signal: AbortSignal): CliContext {
  const { NO_COLOR, TERM } = process.env
  return {
    root: resolve(root),
    env: process.env,
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
    terminal: process.stdout.isTTY === true && (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb',
    signal,
  }
}
