import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { until } from './waiting.js'

/**
 * Text of a module for `--import`: on SIGUSR2 it collects garbage and writes what is left of the heap to the file that
 * `HEAP_FILE` names: all of it, and without the code that V8 goes on compiling for as long as something is called more often.
 */
export const HEAP_PROBE = `
import { renameSync, writeFileSync } from 'node:fs'
import v8 from 'node:v8'
import vm from 'node:vm'
import { isMainThread } from 'node:worker_threads'
if (isMainThread) {
  v8.setFlagsFromString('--expose-gc')
  const gc = vm.runInNewContext('gc')
  process.on('SIGUSR2', () => {
    gc()
    gc()
    const file = process.env.HEAP_FILE
    const { heapUsed } = process.memoryUsage()
    const { code_and_metadata_size: code, bytecode_and_metadata_size: bytecode } = v8.getHeapCodeStatistics()
    writeFileSync(file + '.part', JSON.stringify({ heap: heapUsed, data: heapUsed - code - bytecode }))
    renameSync(file + '.part', file)
  })
}
`

export interface ProcessFacts {
  /** Heap in use after a garbage collection. */
  readonly heapMb: number
  /** The same without what V8 compiled. */
  readonly dataMb: number
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
  const { heap: all, data } = JSON.parse(heap) as { heap: number; data: number }
  return {
    heapMb: all / 1_048_576,
    dataMb: data / 1_048_576,
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
