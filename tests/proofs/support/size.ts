/** `ROUTEMQ_PROOF=full` runs a proof at its full size; otherwise it runs in a form short enough for every build. */
export const FULL = process.env.ROUTEMQ_PROOF === 'full'

export function size<T>(short: T, full: T): T {
  return FULL ? full : short
}

/** One line of figures: what a proof is read for. */
export function figures(title: string, facts: Readonly<Record<string, number | string>>): void {
  const text = Object.entries(facts).map(([name, fact]) => `${name} ${typeof fact === 'number' ? rounded(fact) : fact}`)
  console.log(`PROOF ${title} (${FULL ? 'full' : 'short'}): ${text.join(', ')}`)
}

/** The value below which `share` of the sorted values lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

function rounded(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(2)
}
