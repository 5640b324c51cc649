import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { until } from './waiting.js'

/**
 * Text of a module for `--import`: on SIGUSR2 it collects garbage and writes what is left of the heap, in bytes, to the
 * file that `HEAP_FILE` names. It keeps V8 to its interpreter: the optimising compiler adds code, and notes on code it
 * threw away, for hours, whenever something is called often enough, and that would hide what the product itself keeps.
 */
export const HEAP_PROBE = `
import { renameSync, writeFileSync } from 'node:fs'
import v8 from 'node:v8'
import vm from 'node:vm'
import { isMainThread } from 'node:worker_threads'
if (isMainThread) {
  v8.setFlagsFromString('--no-opt')
  v8.setFlagsFromString('--no-sparkplug')
  v8.setFlagsFromString('--expose-gc')
  const gc = vm.runInNewContext('gc')
  process.on('SIGUSR2', () => {
    gc()
    gc()
    const file = process.env.HEAP_FILE
    writeFileSync(file + '.part', String(process.memoryUsage().heapUsed))
    renameSync(file + '.part', file)
  })
}
`

export interface ProcessFacts {
  /** Heap in use after a garbage collection. */
  readonly heapMb: number
  readonly rssMb: number
  readonly descriptors: number
}

/** Looks at a process that carries {@link HEAP_PROBE}. */
export async function probe(pid: number, heapFile: string): Promise<ProcessFacts> {
  rmSync(heapFile, { force: true })
  process.kill(pid, 'SIGUSR2')
  let heap = ''
  await until('the process tells its heap', () => {
    try {
      heap = readFileSync(heapFile, 'utf8')
    } catch {
      return false
    }
    return heap !== ''
  })
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    heapMb: Number(heap) / 1_048_576,
    rssMb: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1_024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  }
}

/** The median of the slopes between all pairs (Theil and Sen): a few odd samples do not bend it. `x` of each in hours. */
export function slopeOf(samples: readonly { readonly hours: number; readonly value: number }[]): number {
  const slopes = samples.flatMap((one, at) =>
    samples.slice(at + 1).map((other) => (other.value - one.value) / (other.hours - one.hours)),
  )
  slopes.sort((a, b) => a - b)
  return slopes[Math.floor(slopes.length / 2)] ?? 0
}
