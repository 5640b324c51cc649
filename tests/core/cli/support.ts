import { connect } from 'node:net'
import type { TestContext } from 'node:test'
import { main } from '../../../core/cli/program.js'

export interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** One command line in this process, with what it said. */
export async function command(
  root: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Said> {
  const out: string[] = []
  const err: string[] = []
  const code = await main(['--root', root, ...args], {
    env,
    terminal: false,
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}

/** Skips loudly where a server is missing, and fails instead where CI requires it. */
export async function serverMissing(t: TestContext, name: string, port: number): Promise<boolean> {
  const there = await new Promise<boolean>((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.unref()
  })
  if (there) return false
  if (process.env.ROUTEMQ_TEST_SERVICES === 'required') throw new Error(`${name} does not listen on ${port}`)
  t.skip(`${name} does not listen on 127.0.0.1:${port}`)
  return true
}
