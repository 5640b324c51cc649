import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Takes one line that a worker process wrote. */
export type TakeLine = (worker: string, stream: 'stdout' | 'stderr', line: string) => void

/** Where the output of a worker process goes: to whoever takes lines, else to the streams of this process. */
export function outputFor(onLine: TakeLine | undefined): ['pipe', 'pipe'] | ['inherit', 'inherit'] {
  return onLine === undefined ? ['inherit', 'inherit'] : ['pipe', 'pipe']
}

export function readLines(worker: string, child: ChildProcess, onLine: TakeLine): void {
  for (const stream of ['stdout', 'stderr'] as const) {
    const input = child[stream]
    // A child that could not be spawned has none.
    if (input === null) continue
    createInterface({ input }).on('line', (line) => onLine(worker, stream, line))
  }
}
