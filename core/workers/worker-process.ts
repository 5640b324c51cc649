import { type ChildProcess, fork } from 'node:child_process'
import type { Logger } from '../observability/logger.js'
import type { ToGateway, ToWorker } from './protocol.js'
import { outputFor, readLines, type TakeLine } from './worker-lines.js'

/** One thread of V8 beside the handlers: each of the usual four keeps memory of its own, 9 MB of a worker in all. */
const LEAN = '--v8-pool-size=1'

export interface WorkerProcessOptions {
  readonly entry: string
  readonly execArgv: readonly string[]
  readonly args: readonly string[]
  readonly memoryLimitMb: number | undefined
  readonly onLine?: TakeLine | undefined
  readonly logger: Logger
}

export interface WorkerProcessListener {
  readonly onMessage: (message: ToGateway) => void
  /** It could not be spawned, or told something. */
  readonly onError: (error: Error) => void
  /** It is gone, and all it said was heard. Once; both are null where it could not be spawned. */
  readonly onEnd: (code: number | null, signal: NodeJS.Signals | null) => void
}

/** One process that runs a worker: what it is told, what it says, and its end. */
export class WorkerProcess {
  readonly #name: string
  readonly #logger: Logger
  readonly #child: ChildProcess
  /** Resolves after the listener has heard of the end. */
  readonly gone: Promise<void>

  constructor(name: string, options: WorkerProcessOptions, listener: WorkerProcessListener) {
    const { entry, execArgv, args, memoryLimitMb, onLine, logger } = options
    this.#name = name
    this.#logger = logger
    const heapFlag = memoryLimitMb === undefined ? [] : [`--max-old-space-size=${memoryLimitMb}`]
    const child = fork(entry, [...args, name], {
      // What this process was told itself counts more.
      execArgv: [LEAN, ...execArgv, ...heapFlag],
      // Structured clone keeps Buffers and BigInts; stdout and stderr are the gateway's: one log stream.
      serialization: 'advanced',
      stdio: ['ignore', ...outputFor(onLine), 'ipc'],
      // Signals from a terminal reach the whole group; the gateway alone decides when a worker stops.
      env: { ...process.env, ROUTEMQ_WORKER: name },
    })
    this.#child = child
    if (onLine !== undefined) readLines(name, child, onLine)
    child.on('message', (message: ToGateway) => listener.onMessage(message))
    child.on('error', (error) => listener.onError(error))
    this.gone = new Promise((resolve) => {
      let isOver = false
      const end = (code: number | null, signal: NodeJS.Signals | null) => {
        if (isOver) return
        isOver = true
        listener.onEnd(code, signal)
        resolve()
      }
      // Not `exit`: what the process said before its end may still be on the way then, and would be served after its loss.
      child.once('close', end)
      // A process that could not be spawned raises `error` and may raise nothing else.
      child.once('error', () => {
        if (child.pid === undefined) end(null, null)
      })
    })
  }

  /** Undefined where it could not be spawned. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Nothing where it no longer listens. */
  send(message: ToWorker): void {
    if (!this.#child.connected) return
    this.#child.send(message, (error) => {
      if (error !== null) this.#logger.debug({ worker: this.#name, error: error.message }, 'worker is not listening')
    })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}
