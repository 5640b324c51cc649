/** What a benchmark hands back: raw figures for people, ratios for judging. Ratios compare things of one run only. */
export interface Outcome {
  readonly figures: readonly Figure[]
  readonly ratios: readonly Ratio[]
}

export interface Figure {
  readonly label: string
  readonly value: number
  readonly unit: string
}

export interface Ratio {
  readonly label: string
  readonly value: number
  /** The ratio must be at least, or at most, this. */
  readonly target: number
  readonly bound: 'at least' | 'at most'
}

export interface BenchOptions {
  /** Fewer rounds and smaller sizes, for CI. */
  readonly short: boolean
  readonly rounds: number
}

/** A file in `cases/` exports one as its default. */
export interface Benchmark {
  readonly title: string
  run(options: BenchOptions): Promise<Outcome>
}

/** How far a ratio may miss its target before a short run fails: shared machines are noisy. */
const SHORT_TOLERANCE = 0.7

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/**
 * Nanoseconds a call, median over the rounds. The candidates take turns within each round, so that what else the machine
 * does meets all of them; each round lasts about `ms` a candidate and counts its fastest tenth of runs, because others on the
 * machine only ever add time, by the scheduler and by the caches. Candidates of one ratio belong side by side.
 */
export function timeCalls(
  candidates: Readonly<Record<string, () => unknown>>,
  options: { readonly rounds: number; readonly ms: number; readonly callsPerRun: number },
): Record<string, number> {
  const samples = new Map<string, number[]>(Object.keys(candidates).map((name) => [name, []]))
  for (const run of Object.values(candidates)) undisturbedRun(run, options.ms / 2)
  for (let round = 0; round < options.rounds; round += 1) {
    for (const [name, run] of Object.entries(candidates)) {
      samples.get(name)!.push(undisturbedRun(run, options.ms) / options.callsPerRun)
    }
  }
  return Object.fromEntries([...samples].map(([name, values]) => [name, median(values)]))
}

/** Nanoseconds of an undisturbed run among those that fit into `ms`. */
function undisturbedRun(run: () => unknown, ms: number): number {
  const times: number[] = []
  const endsAt = performance.now() + ms
  for (let now = performance.now(); now < endsAt || times.length < 20; ) {
    kept = run()
    const after = performance.now()
    times.push(after - now)
    now = after
  }
  return times.toSorted((one, other) => one - other)[Math.floor(times.length / 10)]! * 1e6
}

/** Results are kept here, so that no optimiser may drop the work. */
export let kept: unknown

/** True where the ratio is good enough for this kind of run. */
export function passes(ratio: Ratio, short: boolean): boolean {
  const tolerance = short ? SHORT_TOLERANCE : 1
  return ratio.bound === 'at least' ? ratio.value >= ratio.target * tolerance : ratio.value <= ratio.target / tolerance
}

export function print(title: string, outcome: Outcome, short: boolean): void {
  console.log(`\n${title}`)
  for (const { label, value, unit } of outcome.figures)
    console.log(`  ${label.padEnd(52)}${format(value).padStart(12)} ${unit}`)
  for (const ratio of outcome.ratios) {
    const verdict = passes(ratio, false) ? 'ok' : passes(ratio, short) ? 'below target' : 'FAILED'
    const target = `${ratio.bound} ${ratio.target}`
    console.log(`  ${ratio.label.padEnd(52)}${ratio.value.toFixed(2).padStart(12)}   (${target}) ${verdict}`)
  }
}

function format(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(2)
}
